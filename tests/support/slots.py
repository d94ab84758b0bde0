from edge_runtime.inference.engine_slot import EngineSlot


def answer(slot: EngineSlot, batch):
    """One batch from taking to answering, as ``pipeline`` does it."""
    occupant = slot.enter()
    try:
        return slot.infer(occupant, batch), occupant.generation
    finally:
        slot.leave(occupant)
