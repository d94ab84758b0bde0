"""One thin file per framework behind the port in ``base``; nothing here decides anything."""
