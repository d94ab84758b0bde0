"""Many cameras and many models: how the cost grows, and whether one of them disturbs the others."""
