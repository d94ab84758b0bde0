from edge_runtime.inference.engine_slot import EngineSlot


def answer(slot: EngineSlot, batch):
    """One batch from taking to answering, as ``pipeline`` does it."""
    lease = slot.acquire()
    try:
        return slot.infer(lease, batch), lease.generation
    finally:
        slot.release(lease)
