"""What is done to pictures: corruptions, camera drifts, streams and poisons."""
