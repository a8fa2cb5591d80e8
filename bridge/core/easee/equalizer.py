"""Observations of the Equalizer, which has an id space of its own, and its personal data.

Equalizers are not served yet. Their ids are judged here like those of a charger, so that nothing of
theirs is published by an oversight.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# By observation id: names are the vendor's.
NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "selfTestResult",
        2: "selfTestDetails",
        13: "easeeLinkCommandResponse",
        14: "easeeLinkDataReceived",
        19: "siteIDNumeric",
        20: "siteStructure",
        21: "softwareRelease",
        23: "deviceMode",
        25: "meterType",
        26: "meterID",
        27: "OBISListIdentifier",
        29: "gridType",
        30: "numPhases",
        31: "currentL1",
        32: "currentL2",
        33: "currentL3",
        34: "voltageNL1",
        35: "voltageNL2",
        36: "voltageNL3",
        37: "voltageL1L2",
        38: "voltageL1L3",
        39: "voltageL2L3",
        40: "activePowerImport",
        41: "activePowerExport",
        42: "reactivePowerImport",
        43: "reactivePowerExport",
        44: "maxPowerImport",
        45: "cumulativeActivePowerImport",
        46: "cumulativeActivePowerExport",
        47: "cumulativeReactivePowerImport",
        48: "cumulativeReactivePowerExport",
        49: "clockAndDateMeter",
        50: "rcpi",
        51: "ssid",
        55: "masterBackPlateID",
        56: "equalizerID",
        57: "childReport",
        58: "connectivityReport",
        60: "exceptionData",
        61: "bootReason",
        64: "highCurrentTransitions",
        65: "vCap",
        66: "vBusMin",
        67: "vbusMax",
        68: "internalTemperature",
        69: "meterDataSnapshot",
        70: "localRSSI",
        71: "localTxPower",
        72: "localRadioChannel",
        73: "localShortAddress",
        74: "localNodeType",
        75: "localParentAddress",
        80: "circuitPhaseMapping",
        81: "phaseMappingReport",
        82: "phaseLearningStatus",
        85: "modbusConfiguration",
        86: "loadbalanceThrottle",
        87: "availableCurrentL1",
        88: "availableCurrentL2",
        89: "availableCurrentL3",
        90: "meterErrors",
        91: "APMacAddress",
        92: "wifiReconnects",
        100: "ledMode",
        105: "equalizedChargeCurrentL1",
        106: "equalizedChargeCurrentL2",
        107: "equalizedChargeCurrentL3",
        110: "currentTransformerConfig",
        111: "meterEncryptionStatus",
        115: "surplusCharging",
        120: "connectedAmps",
        250: "connectedToCloud",
        251: "cloudDisconnectReason",
    }
)

_METER: Final = "it names the meter, and with it the contract of one household"

PERSONAL: Final[Mapping[int, str]] = MappingProxyType(
    {
        20: "address of the site, with owner, installer and their telephone numbers",
        26: _METER,
        51: "the name of a network tells whose it is, and maps of networks tell where",
        55: "it ties the meter of a household to the charger beside it",
        56: "it ties the meter of a household to the device beside it",
        69: f"what the meter says as it says it: {_METER}",
        91: "a hardware address is seen by others within reach, and maps of networks tell where",
    }
)

_MAKERS: Final = "diagnostic text; fields with personal data are removed if it is JSON"
_SETTING: Final = "how it is set up: phases, currents, ways to speak; names nobody"

# Texts, and what looks like an id. All other ids are numbers that measure, count or set something.
NOT_PERSONAL: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "one of a few fixed words",
        2: "steps of a test of the hardware",
        14: _MAKERS,
        19: "an id of the vendor's: it leads to nobody by itself",
        25: "a type of meter, the same in a whole district",
        27: "a version of the words a meter speaks",
        49: "the meter's clock",
        57: _MAKERS,
        58: _MAKERS,
        60: _MAKERS,
        61: "one of a few fixed words",
        80: _SETTING,
        81: _SETTING,
        82: "one of a few fixed words",
        85: _SETTING,
        110: _SETTING,
        111: "one of a few fixed words",
        115: _SETTING,
        251: "one of a few fixed words",
    }
)
