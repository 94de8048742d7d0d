"""Files of weights from strangers: read where they are sound, refused by name where they are not."""

import pickle
import zipfile

import numpy as np
import pytest

from keras_dmmd.weight_files import DamagedFile, NpzFile, SafetensorsFile, TorchFile, pickles
from tests.weight_files import hostile
from tests.weight_files.hostile import call, named, tensor

pytestmark = pytest.mark.plain
A = np.arange(6, dtype="float32").reshape(2, 3)
STORED = tensor("0", (2, 3), (3, 1))
MB = 2**20


@pytest.fixture(params=["npz", "safetensors", "ckpt"])
def sound(request, tmp_path):
    """The same two arrays in each kind of file."""
    path = tmp_path / f"sound.{request.param}"
    if request.param == "npz":
        np.savez_compressed(path, a=A, b=A[0].astype("float16"))
        return NpzFile(path)
    if request.param == "safetensors":
        pytest.importorskip("safetensors")
        half = ("F16", (3,), A[0].astype("<f2").tobytes())
        hostile.write_safetensors(path, {"a": A, "b": half})
        return SafetensorsFile(path)
    content = {"state_dict": {"a": STORED, "b": tensor("1", (3,), (1,), kind="HalfStorage")}}
    hostile.write_ckpt(path, content, {"0": A, "1": A[0].astype("<f2")})
    return TorchFile(path)


def test_sound_files(sound):
    with sound as file:
        assert file.names == ["a", "b"]
        assert (file.shape("a"), file.shape("b")) == ((2, 3), (3,))
        file.check_size(file.names)
        for name, expected in {"a": A, "b": A[0]}.items():
            values = file.read(name)
            assert values.dtype == np.float32 and values.flags.writeable
            np.testing.assert_array_equal(values, expected)
        with pytest.raises(DamagedFile, match="'c'"):
            file.read("c")


@pytest.mark.parametrize("kind", [NpzFile, SafetensorsFile, TorchFile])
def test_files_that_are_none(kind, tmp_path):
    if kind is SafetensorsFile:
        pytest.importorskip("safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        kind(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        kind(tmp_path)
    for content in (b"", b"no weights", b"PK\x03\x04" + bytes(40), b"\xff" * 64):
        (tmp_path / "file").write_bytes(content)
        # Both, so that whoever expects one of them is right.
        for error in (OSError, ValueError):
            with pytest.raises(error, match="/file'"):
                kind(tmp_path / "file")


# npz ----------------------------------------------------------------------------------------------


def test_every_changed_byte_of_an_npz_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=A)
    content = path.read_bytes()
    refused = 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :])
        try:
            with NpzFile(path) as file:
                np.testing.assert_array_equal(file.read(file.names[0]), A)
        except DamagedFile as error:
            assert "a.npz" in str(error)
            refused += 1
    assert refused > len(content) / 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (10**9,)}, r"declares shape \(1000000000,\) of float32, but holds 24 bytes"),
        ({"shape": (2, 3, 10**12)}, "declares shape"),
        ({"shape": (-2, -3)}, "declares shape"),
        ({"shape": (2,)}, "declares shape"),
        ({"descr": "|O"}, "dtype object is not one of numbers"),
        ({"descr": "<c8"}, "dtype complex64 is not one of numbers"),
        ({"descr": [("x", "<f4")]}, "not one of numbers"),
        ({"descr": "<U100000000"}, "not one of numbers"),
        ({"descr": "nonsense"}, "descr"),
    ],
)
def test_headers_of_numpy_that_lie(changes, message, tmp_path):
    hostile.write_npz(tmp_path / "a.npz", {"a": hostile.npy(A, **changes)})
    most, error = hostile.peak(lambda: NpzFile(tmp_path / "a.npz").read("a"))
    with pytest.raises(DamagedFile, match=f"a.npz.*'a'.*{message}"):
        raise error
    assert most < MB


def test_a_pickle_in_an_npz_is_not_opened(tmp_path):
    objects = np.array([hostile.Trips(tmp_path / "canary")], object)
    np.savez(tmp_path / "a.npz", a=objects)
    with pytest.raises(DamagedFile, match="dtype object"):
        NpzFile(tmp_path / "a.npz").read("a")
    assert not (tmp_path / "canary").exists()


def test_packed_zeros_are_no_weights(tmp_path):
    """A few kilobytes that would become 64 MB."""
    path, many = tmp_path / "a.npz", np.zeros(16 * MB, "float16")
    np.savez_compressed(path, a=many, b=many)
    most, error = hostile.peak(lambda: NpzFile(path))
    with pytest.raises(DamagedFile, match="a.npz.*declares 67,10.,... bytes in a file of"):
        raise error
    assert most < MB


@pytest.mark.parametrize("kind", [NpzFile, TorchFile])
def test_members_that_are_larger_than_they_say(kind, tmp_path):
    """A few kilobytes that unpack to 64 MB, and declare a hundred bytes."""
    path, name = tmp_path / "a.npz", "a.npy" if kind is NpzFile else "a/data.pkl"
    start = hostile.npy(A) if kind is NpzFile else b"N."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, start + bytes(64 * MB))
    content = path.read_bytes()
    size = (len(start) + 64 * MB).to_bytes(4, "little")
    assert content.count(size) == 2  # before the member, and in the table of contents
    path.write_bytes(content.replace(size, len(start).to_bytes(4, "little")))
    most, error = hostile.peak(lambda: kind(path).read("a"))
    with pytest.raises(DamagedFile, match="a.npz"):
        raise error
    assert most < MB


def test_a_header_of_gigabytes(tmp_path):
    """The second version of the format has room for one, which would be unpacked to be measured."""
    header = b"\x93NUMPY\x02\x00" + (2**26).to_bytes(4, "little")
    hostile.write_npz(tmp_path / "a.npz", {"a": header + b" " * 2**23})
    most, error = hostile.peak(lambda: NpzFile(tmp_path / "a.npz").shape("a"))
    with pytest.raises(DamagedFile, match="not of the first"):
        raise error
    assert most < MB


def test_other_compressions(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", hostile.npy(A))
    with pytest.raises(DamagedFile, match="'a.npy' is compressed in a way"):
        NpzFile(tmp_path / "a.npz")


def test_members_of_one_name(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for _ in range(2):
            file.writestr("a.npy", hostile.npy(A))
    with pytest.raises(DamagedFile, match="same name"):
        NpzFile(tmp_path / "a.npz")


# safetensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        ("F32", (2 * 10**9,), b"1234"),
        ("F32", (2**63, 2**63), b""),
        ("F32", (-1,), b"1234"),
        ("F99", (1,), b"1234"),
        ("F4", (2,), b"1"),
    ],
)
def test_safetensors_that_lie(entry, tmp_path):
    pytest.importorskip("safetensors")
    hostile.write_safetensors(tmp_path / "a.safetensors", {"a": entry})
    with pytest.raises(DamagedFile, match="a.safetensors"):
        SafetensorsFile(tmp_path / "a.safetensors").read("a")


# torch.save ---------------------------------------------------------------------------------------


def open_ckpt(tmp_path, content, storages=None, **kwargs):
    path = tmp_path / "a.ckpt"
    hostile.write_ckpt(path, content, {"0": A} if storages is None else storages)
    return TorchFile(path, **kwargs)


def test_what_torch_writes(tmp_path):
    """Views, kinds of numbers, parameters, settings of other packages, a file without checksums."""
    torch = pytest.importorskip("torch")
    a = torch.arange(12.0).reshape(3, 4)
    state = {
        "view": a[1:, ::2],
        "turned": a.T,
        "parameter": torch.nn.Parameter(a),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        **{
            str(dtype): torch.tensor([1, 0, 1]).to(dtype)
            for dtype in (torch.bfloat16, torch.half, torch.double, torch.long, torch.bool, torch.uint8)
        },
        "not a tensor": "text",
        "settings": hostile.Settings(),
    }
    torch.save(state, tmp_path / "a.pt")
    with TorchFile(tmp_path / "a.pt") as file:
        for name in file.names:
            np.testing.assert_array_equal(file.read(name), state[name].detach().float().numpy())
        assert set(state) - set(file.names) == {"not a tensor", "settings"}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": a}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(TorchFile(tmp_path / "a.pt").read("a"), a.numpy())


@pytest.mark.parametrize(
    "wrong",
    [
        tensor("0", (10**11,), (0,)),  # 400 GB of one number
        tensor("0", (10**11,), (1,)),
        tensor("0", (2, 3), (3, 1), offset=1),
        tensor("0", (2, 3), (3, 2)),
        tensor("0", (2,), (10**18,)),
        tensor("0", (7,), (1,)),
        tensor("0", (7,), (0,)),
        tensor("1", (2,), (1,)),
        tensor("../0", (2,), (1,)),
    ],
)
def test_tensors_that_lie(wrong, tmp_path):
    file = open_ckpt(tmp_path, {"state_dict": {"a": wrong, "b": STORED}})
    np.testing.assert_array_equal(file.read("b"), A)
    most, error = hostile.peak(lambda: file.shape("a") and file.read("a"))
    with pytest.raises(DamagedFile, match="a.ckpt.*'a'"):
        raise error
    assert most < MB


@pytest.mark.parametrize(
    "odd",
    [
        tensor("0", (-1,), (1,)),
        tensor("0", (2.5,), (1,)),
        tensor("0", (True,), (1,)),
        tensor("0", (2,), (-1,)),
        tensor("0", (2,), (1,), offset=-1),
        tensor("0", (2,), (1,), kind="ComplexFloatStorage"),
        tensor(0, (2,), (1,)),
        call(named("torch._utils", "_rebuild_tensor_v2")),
        call(named("torch._utils", "_rebuild_tensor_v2"), 1, 2, 3, 4),
        call(named("torch._utils", "_rebuild_parameter")),
        named("torch._utils", "_rebuild_tensor_v2"),
        ("storage",),
        None,
    ],
)
def test_what_is_no_tensor_is_not_among_the_names(odd, tmp_path):
    assert open_ckpt(tmp_path, {"a": odd, "b": STORED}).names == ["b"]


def test_many_tensors_of_one_storage(tmp_path):
    """Each fits the file, all together are a thousand times larger."""
    large = np.zeros(2 * MB, "float32")
    one = tensor("0", (2 * MB,), (1,))
    file = open_ckpt(tmp_path, {str(i): one for i in range(1000)}, {"0": large})
    file.check_size(file.names[:2])  # as tied weights are
    with pytest.raises(DamagedFile, match="a.ckpt.*declares 2,097,152,000 numbers in 8,"):
        file.check_size(file.names)


def test_a_flipped_bit_in_a_storage(tmp_path):
    open_ckpt(tmp_path, {"a": STORED})
    content = (tmp_path / "a.ckpt").read_bytes()
    at = content.index(A.tobytes())
    (tmp_path / "a.ckpt").write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    with pytest.raises(DamagedFile, match="a.ckpt.*'a'.*CRC"):
        TorchFile(tmp_path / "a.ckpt").read("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([STORED], "no weights by name: list"),
        ({"state_dict": [STORED]}, "no weights by name: list"),
        ({"state_dict": None}, "no weights by name: NoneType"),
        ({"state_dict": "weights"}, "no weights by name: str"),
        (call(named("collections", "OrderedDict"), [("a", STORED)]), "no weights by name: Call"),
        ({"a": STORED, "ema": 3}, "'ema'.*pass `ema=False`"),
        ({"a": STORED, "ema": [1]}, "'ema'"),
        ({"a": STORED, "ema": {"decay": 0.9}}, "'ema'"),
        ({"a": STORED, "ema": {"shadow_params": 5}}, "'ema'"),
        ({"a": STORED, "ema": {"shadow_params": [None]}}, "'ema'"),
        ({"a": STORED, "ema": {"shadow_params": [STORED, STORED]}}, "'ema'"),
        ({"a": STORED, "ema": {"shadow_params": [tensor("0", (6,), (1,))]}}, "'ema'"),
    ],
)
def test_odd_checkpoints(content, message, tmp_path):
    with pytest.raises(ValueError, match=f"a.ckpt.*{message}"):
        open_ckpt(tmp_path, content)


def test_averages_are_taken_by_their_order(tmp_path):
    content = {
        "state_dict": {"a": STORED, "inv_freq": STORED},
        "ema": {"shadow_params": [tensor("1", (2, 3), (3, 1))]},
    }
    storages = {"0": A, "1": A + 1}
    np.testing.assert_array_equal(open_ckpt(tmp_path, content, storages).read("a"), A + 1)
    np.testing.assert_array_equal(open_ckpt(tmp_path, content, storages, ema=False).read("a"), A)


# pickles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_what_they_are(protocol):
    content = {
        "a": [1, -(2**70), 2.5, None, True],
        "b": ("x", b"y", "ü", ()),
        3: {"c": {}},
        "d": bytearray(b"z"),
    }
    # Before there were bytes and bools in pickles they were calls and numbers.
    found = pickles.read(pickle.dumps(content, protocol))
    if protocol >= 3:
        content["d"] = found["d"] if protocol < 5 else content["d"]
        assert found == content
    assert found["a"] == content["a"] and found["b"][0::2] == ("x", "ü")


def test_nothing_that_a_pickle_names_is_called(tmp_path):
    """Python runs it; here is what remains."""
    canary = tmp_path / "canary"
    harm = pickle.dumps([hostile.Trips(canary)])
    with pytest.raises(ValueError, match="not opened, and among them (posix|nt).mkdir"):
        pickles.read(harm)
    assert not canary.exists()
    pickle.loads(harm)
    assert canary.exists()
    found = pickles.read(pickle.dumps([zipfile.ZipInfo("x"), hostile.Settings(), np.float32]))
    assert [type(part) for part in found] == [pickles.Call, pickles.Call, pickles.Name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"]",
        b"](.",
        b"(.",
        b"u.",
        b"]q\x00h\x01.",  # memory that was never written
        b"\x80\x04\x8c\x01a\x93.",  # one name in the place of two
        b"\x80\x04K\x01K\x02\x93.",
        b"cbuiltins\nexec\n(S'1'\ntR.",
        b"cbuiltins\neval\n.",
        b"csubprocess\nPopen\n.",
        b"\x80\x02\x82\x01.",  # an extension's code
        b"\x80\x05\x97.",  # a buffer outside
        b"\x80\x05\x96" + (10**12).to_bytes(8, "little") + b".",  # bytes that are not there
        b"(" * 5000 + b"t" * 4999 + b".",
    ],
)
def test_broken_and_hostile_pickles(content):
    most, error = hostile.peak(lambda: pickles.read(content))
    with pytest.raises(ValueError):
        raise error
    assert most < 100 * MB


def test_pickles_that_go_on_for_ever(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 1000)
    assert pickles.read(b"N" + b"N0" * 499 + b".") is None
    with pytest.raises(ValueError, match="more than 1,000 instructions"):
        pickles.read(b"N" + b"N0" * 500 + b".")


def test_memory_far_away_costs_nothing():
    """Python's own reader makes room for all places before this one."""
    most, found = hostile.peak(lambda: pickles.read(b"]r\xff\xff\xff\x7fj\xff\xff\xff\x7f\x86."))
    assert found == ([], []) and most < MB


def test_what_is_shared_a_billion_times_is_not_walked_through():
    doubled = b")" + b"2\x86" * 40
    found = pickles.read(b"}" + doubled + b"Ns" + b"S'a'\n" + doubled + b"s.")
    assert list(found) == ["a"]
