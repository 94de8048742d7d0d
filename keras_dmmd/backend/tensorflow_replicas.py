"""TensorFlow's distribution strategies: a step runs once per replica, on rows of its own.

Keras sums the gradients of replicas when its optimizer updates, after it has clipped those of each.
Here they are summed before anything is made of them, so that clipping, norms and the test for finite
ones see those of the whole batch, and the optimizer is told that there is nothing left to sum.
"""

import tensorflow as tf


def _context():
    """The replica that this runs in, or `None` where it is the only one."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return None
    return tf.distribute.get_replica_context()


def share(n):
    context = _context()
    if context is None:
        return 0, n
    number, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    own = tf.one_hot(number, replicas, dtype="int32") * tf.cast(n, "int32")
    sizes = context.all_reduce("sum", own)
    return tf.reduce_sum(tf.where(tf.range(replicas) < number, sizes, 0)), tf.reduce_sum(sizes)


def sum_over_replicas(tensors):
    tensors, context = list(tensors), _context()
    return tensors if context is None else context.all_reduce("sum", tensors)


def keras_loss(loss):
    # Keras's test step takes losses for parts of a sum over replicas.
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def apply_in_replica(optimizer, gradients, variables, where):
    """One update by gradients that are summed, if `where`; whether there are several replicas."""
    context = _context()
    if context is None:
        return False
    _leave_sums(optimizer)
    if where is None or tf.__internal__.distribute.strategy_supports_no_merge_call():
        if where is None:
            optimizer.apply(gradients, variables)
        else:
            tf.cond(where, lambda: optimizer.apply(gradients, variables), lambda: None)
        return True

    # An update has the replicas wait for each other, which no branch within a replica may.
    def apply(strategy, gradients, where):
        def apply_in_each():
            strategy.extended.call_for_each_replica(optimizer.apply, args=(gradients, variables))

        tf.cond(strategy.experimental_local_results(where)[0], apply_in_each, lambda: None)

    context.merge_call(apply, args=(gradients, where))
    return True


def _leave_sums(optimizer):
    """Have an optimizer take its gradients for sums over replicas."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    optimizer._all_reduce_sum_gradients = list


def scope_of(model):
    return model.distribute_strategy.scope()


def check_copies(model, copies):
    replicas = model.distribute_strategy.num_replicas_in_sync
    if copies > 1 and replicas > 1:
        raise ValueError(
            f"`corruptions={copies}` under a strategy of {replicas} replicas, which share out rows "
            "without regard to their copies: evaluate a `model.copy()` made outside of its scope."
        )


def begin_together(model, streams):
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in model.optimizer.variables:
        if not isinstance(variable.value, tf.distribute.DistributedValues):
            raise ValueError(
                "This model was made within the scope of a tf.distribute strategy, and its optimizer "
                "outside of it: call `compile` within `with strategy.scope():`, too."
            )
    for state in streams:
        state.assign(state.numpy())  # as it is on the first replica

    def part():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state in streams:
            state.assign(state + tf.stack([tf.cast(number, state.dtype) * 1_000_003, 0]))

    strategy.run(part)
