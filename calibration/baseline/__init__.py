"""The healthy site: moments, frames, facts about it, and pooling several."""
