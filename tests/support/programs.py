"""Programs that the tests talk to. A missing one is a failure with the command that installs it, never a skip."""

import os
import shutil

DEBIAN_PACKAGES = {
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "docker-registry": "docker-registry",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
}


def find_program(name: str, *others: str) -> str:
    """Path of a program, or of one that does as well; some are not on an ordinary user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = next((found for one in (name, *others) if (found := shutil.which(one, path=path))), None)
    if found is None:
        command = f"apt-get install -y --no-install-recommends {DEBIAN_PACKAGES[name]}"
        raise RuntimeError(f"{name} is needed by these tests and was not found; install it: {command}")
    return found
