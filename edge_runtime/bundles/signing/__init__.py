"""Who made a bundle: keys, signatures in the OpenSSF model signing format, and the operator's trust in them."""
