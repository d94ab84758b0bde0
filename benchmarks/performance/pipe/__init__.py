"""H.264 cameras on the daemon, and on a script with an ffmpeg pipe."""
