"""What a computation allocates beyond what goes in and comes out."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class Scratch(TorchDispatchMode):
    """Records when each tensor's memory comes and goes, between any two operations on tensors.

    Memory that an operation takes and gives back within itself is not seen, nor are numpy's arrays, unless tensors are
    made of them.
    """

    def __init__(self):
        super().__init__()
        self.now = 0
        self.live = {}  # key -> (weak reference, bytes, when it came)
        self.past = []  # (key, bytes, when it came, when it went)

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # or else torch imports its compiler, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.is_view:
            return func(*args, **kwargs)  # half of the operations, and none of the memory
        self._see(args)
        self._see(kwargs.values())
        out = func(*args, **kwargs)
        self.now += 1
        self._forget()
        self._see((out,))
        return out

    def _see(self, found):
        for each in found:
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                key = storage._cdata  # not taken by another while the weak reference lives
                if key not in self.live:
                    self.live[key] = StorageWeakRef(storage), storage.nbytes(), self.now
            elif isinstance(each, (tuple, list)):
                self._see(each)

    def _forget(self):
        expired = torch.UntypedStorage._expired  # what StorageWeakRef.expired calls in the end: most of a test's time
        for key in [key for key, (reference, _, _) in self.live.items() if expired(reference.cdata)]:
            _, size, came = self.live.pop(key)
            self.past.append((key, size, came, self.now))

    def total(self):
        """Bytes of all that was made: a measure of the work that no busy machine changes."""
        return sum(size for _, size, *_ in [*self.live.values(), *self.past])

    def peak(self, *known):
        """Most bytes alive at a time, without the memory of these tensors, which must be alive still."""
        known = {tensor.untyped_storage()._cdata for tensor in known if tensor is not None}
        changes = [(came, size) for key, (_, size, came) in self.live.items() if key not in known]
        for _, size, came, went in self.past:
            changes += [(came, size), (went, -size)]
        most = alive = 0
        for _, change in sorted(changes):  # at one time, what goes comes before what comes
            alive += change
            most = max(most, alive)
        return most


def peak_bytes(compute, *inputs):
    """Run `compute`, which returns its results, and tell the most scratch bytes that it had alive at a time."""
    with Scratch() as scratch:
        outputs = compute()
        scratch._forget()
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return scratch.peak(*inputs, *outputs)
