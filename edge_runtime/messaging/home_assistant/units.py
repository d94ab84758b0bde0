"""Units of values in Home Assistant's spelling, with the class of entity that it has for them. Pure.

Source: Home Assistant core, ``components/sensor/const.py`` (``DEVICE_CLASS_UNITS``). A class with a unit that it does
not list is refused there, so that only listed pairs are here. Units of several classes, such as %, have none.
"""

from typing import NamedTuple


class KnownUnit(NamedTuple):
    """A unit for an entity."""

    unit: str
    """As Home Assistant spells it."""
    device_class: str | None
    """None: it knows no class by this unit alone."""


_UNITS_BY_CLASS = {
    "apparent_power": ("VA",),
    "current": ("A", "mA"),
    "distance": ("km", "m", "cm", "mm"),
    "duration": ("d", "h", "min", "s", "ms"),
    "frequency": ("Hz", "kHz", "MHz", "GHz"),
    "illuminance": ("lx",),
    "irradiance": ("W/m²",),
    "power": ("mW", "W", "kW", "MW"),
    "pressure": ("Pa", "hPa", "kPa", "bar", "mbar", "psi"),
    "sound_pressure": ("dB", "dBA"),
    "speed": ("mm/s", "m/s", "km/h"),
    "temperature": ("°C", "°F", "K"),
    "voltage": ("V", "mV", "µV"),
    "weight": ("kg", "g", "mg", "t"),
}
_CLASSES = {unit: device_class for device_class, units in _UNITS_BY_CLASS.items() for unit in units}
_SPELLINGS = {"degC": "°C", "C": "°C", "degF": "°F", "uV": "µV", "W/m2": "W/m²", "days": "d", "hours": "h"}


def find_unit(unit: str) -> KnownUnit:
    """The unit of a bundle, for an entity; an unknown one stays as it is."""
    spelled = _SPELLINGS.get(unit, unit)
    return KnownUnit(spelled, _CLASSES.get(spelled))
