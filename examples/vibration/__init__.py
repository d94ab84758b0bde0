"""A net that tells motions of a machine or a person apart: from its training to a box that looks after itself."""
