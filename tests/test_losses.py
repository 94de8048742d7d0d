import numpy as np
import pytest
from keras import ops

from keras_dmmd.losses import critic_loss, student_loss
from tests.builders import gradients

BATCH, LENGTH, K = 2, 3, 4


def tables():
    """Two probability tables and two cost tables, float32."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(K), size=(2, BATCH, LENGTH))
    costs = rng.gamma(2.0, size=(2, BATCH, LENGTH, K))
    return [table.astype("float32") for table in (*probs, *costs)]


def test_student_loss():
    probs, _, teacher, critic = tables()
    expected = np.sum(np.float64(probs) * (np.float64(teacher) - critic), (1, 2))
    actual = ops.convert_to_numpy(student_loss(*map(ops.convert_to_tensor, (probs, teacher, critic))))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_students_gradient_is_the_advantage_and_reaches_nothing_else():
    probs, _, teacher, critic = tables()
    to_probs, to_teacher, to_critic = gradients(student_loss, probs, teacher, critic)
    np.testing.assert_allclose(to_probs, teacher - critic, rtol=1e-6)
    assert (to_teacher == 0).all() and (to_critic == 0).all()


def test_a_bounded_advantage():
    probs, _, teacher, critic = tables()
    teacher[0, 0, 0] = 80.0  # a token that the teacher rules out

    def loss(*tensors):
        return student_loss(*tensors, max_advantage=0.5)

    to_probs, _, _ = gradients(loss, probs, teacher, critic)
    np.testing.assert_allclose(to_probs, np.clip(teacher - critic, -0.5, 0.5), rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_critic_loss_of_a_hard_target(weight):
    _, teacher, _, critic = tables()
    target = np.array([[0, 1, 3], [2, 2, 1]])
    hard = np.take_along_axis(np.float64(critic), target[..., None], -1).sum((1, 2))
    expected = hard + weight * np.sum(np.float64(teacher) * critic, (1, 2))
    for ids in (target, target.tolist(), ops.convert_to_tensor(target)):
        actual = critic_loss(ids, *map(ops.convert_to_tensor, (critic, teacher)), weight)
        np.testing.assert_allclose(ops.convert_to_numpy(actual), expected, rtol=1e-5)


def test_critic_loss_of_a_soft_target():
    probs, teacher, _, critic = tables()
    expected = np.sum((np.float64(probs) + 0.5 * teacher) * critic, (1, 2))
    actual = critic_loss(*map(ops.convert_to_tensor, (probs, critic, teacher)), 0.5)
    np.testing.assert_allclose(ops.convert_to_numpy(actual), expected, rtol=1e-5)


def test_critic_loss_without_a_teacher():
    probs, _, _, critic = map(ops.convert_to_tensor, tables())
    alone = ops.convert_to_numpy(critic_loss(probs, critic))
    np.testing.assert_allclose(alone, ops.convert_to_numpy(ops.sum(probs * critic, (1, 2))), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    _, _, _, critic = tables()
    for ids in (np.zeros((1, LENGTH), int), np.zeros((BATCH, 1), int)):
        for target in (ids, ops.convert_to_tensor(ids)):
            with pytest.raises(ValueError, match="`target` must be ids"):
                critic_loss(target, critic)
    with pytest.raises(ValueError, match="`teacher_weight` needs `teacher_probs`"):
        critic_loss(np.zeros((BATCH, LENGTH), int), critic, teacher_weight=0.5)


def test_the_critics_gradient_is_its_targets():
    probs, teacher, _, critic = tables()

    def loss(cost):
        return critic_loss(ops.convert_to_tensor(probs), cost, ops.convert_to_tensor(teacher), 0.5)

    np.testing.assert_allclose(gradients(loss, critic)[0], probs + 0.5 * teacher, rtol=1e-5)


def test_student_and_critic_meet_at_the_teacher():
    """With equal costs the student has no gradient left."""
    probs, _, teacher, _ = tables()
    assert (gradients(student_loss, probs, teacher, teacher)[0] == 0).all()
