"""Zip archives that may be bombs."""

import os
import zipfile

from keras_dmmd.weight_files.weight_file import EXPANSION, ROOM


class Archive:
    """The members of a zip archive, whose declared sizes were compared with that of the file.

    Args:
        path: of the file.
        open_files: a `contextlib.ExitStack`, which closes it.

    Raises:
        ValueError: two members have one name, or all together are larger than such a file can be.
        zipfile.BadZipFile: it is no zip archive.
    """

    def __init__(self, path, open_files):
        self._file = open_files.enter_context(zipfile.ZipFile(path))
        members = self._file.infolist()
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise ValueError("two of its members have the same name")
        odd = [m for m in members if m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
        if odd:  # the others unpack as much at once as they like
            raise ValueError(
                f"{odd[0].filename[:100]!r} is compressed in a way that is not for weights"
            )
        total = sum(member.file_size for member in members)
        if total > EXPANSION * os.path.getsize(path) + ROOM:
            raise ValueError(
                f"it declares {total:,} bytes in a file of {os.path.getsize(path):,}, and weights do "
                "not shrink that far"
            )

    def __contains__(self, name):
        return name in self._members

    @property
    def names(self):
        return list(self._members)

    def size(self, name):
        """Bytes of a member, unpacked."""
        return self._members[name].file_size

    def open(self, name):
        """A member as a file, of which to read few bytes at a time."""
        return self._file.open(self._members[name])

    def read(self, name):
        """A member, bytes, whose checksum is right."""
        with self.open(name) as member:
            # Not `read()`, which unpacks whatever there is before it looks at the declared size.
            content = member.read(self.size(name) + 1)
        if len(content) != self.size(name):
            raise ValueError(f"it has {len(content):,} of {self.size(name):,} bytes")
        return content

    def without_checksums(self):
        """Read on where the writer left the checksums out."""
        if not any(member.CRC for member in self._members.values()):
            for member in self._members.values():
                member.CRC = None
