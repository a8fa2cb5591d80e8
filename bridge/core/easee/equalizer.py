"""Every observation an Equalizer is known to send: one row, one topic.

An Equalizer has an id space of its own. The rules are those of
:mod:`~bridge.core.easee.observation_registry`.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from bridge.core.easee import enumerations
from bridge.core.easee.observation_spec import (
    ENERGY,
    FIRMWARE,
    LIMITS,
    PHASES,
    RADIO,
    SETTINGS,
    STATUS,
    TEMPERATURES,
    DataType,
    ObservationSpec,
    Visibility,
    row,
)

_BOOL: Final = DataType.BOOLEAN
_DBL: Final = DataType.DOUBLE
_INT: Final = DataType.INTEGER
_STR: Final = DataType.STRING

_MAIN: Final = Visibility.MAIN
_DIAGNOSTIC: Final = Visibility.DIAGNOSTIC
_HIDDEN: Final = Visibility.HIDDEN

_MAKERS: Final = "diagnostic text; fields with personal data are removed if it is JSON"
_SETTING: Final = "how it is set up: phases, currents, protocols; identifies no person"
_CODE: Final = "one of a few fixed words"
_METER: Final = "it names the meter, and with it the contract of one household"
# A meter's reading only grows: what the energy dashboard of Home Assistant needs.
_READING: Final = "total_increasing"

_ROWS: Final[tuple[ObservationSpec, ...]] = (
    row(1, "selfTestResult", _STR, None, "Built-in self test: a pass word or error codes",
        harmless=_CODE),
    row(2, "selfTestDetails", _STR, "json", "Self test, step by step",
        harmless="steps of a test of the hardware"),
    row(13, "easeeLinkCommandResponse", _INT, None, "Answer to a command over the local link"),
    row(14, "easeeLinkDataReceived", _STR, None, "What a charger sent over the local link",
        harmless=_MAKERS, visibility=_HIDDEN),
    row(19, "siteIDNumeric", _INT, None, "Site id as a number", visibility=_HIDDEN),
    row(20, "siteStructure", _STR, "json", "The site as the installer set it up, with its address",
        personal="address of the site, with owner, installer and their telephone numbers",
        group=SETTINGS),
    row(21, "softwareRelease", _INT, None, "Firmware release", visibility=_DIAGNOSTIC,
        title="Firmware", group=FIRMWARE),
    row(23, "deviceMode", _INT, None, "Mode of the device", group=SETTINGS),
    row(25, "meterType", _STR, None, "Type of the electricity meter",
        harmless="a type of meter, the same in a whole district", visibility=_DIAGNOSTIC,
        group=SETTINGS),
    row(26, "meterID", _STR, None, "Number of the electricity meter", personal=_METER),
    row(27, "OBISListIdentifier", _STR, None, "Version of the meter's list of values",
        harmless="a version of the words a meter speaks"),
    row(29, "gridType", _INT, None, "Grid of the site", labels=enumerations.GRID_TYPE,
        visibility=_DIAGNOSTIC, group=SETTINGS),
    row(30, "numPhases", _INT, "count", "Phases of the site", title="Phases", group=SETTINGS),
    row(31, "currentL1", _DBL, "A", "Current of the site, L1", visibility=_MAIN,
        title="Current L1", digits=1, group=PHASES),
    row(32, "currentL2", _DBL, "A", "Current of the site, L2", visibility=_MAIN,
        title="Current L2", digits=1, group=PHASES),
    row(33, "currentL3", _DBL, "A", "Current of the site, L3", visibility=_MAIN,
        title="Current L3", digits=1, group=PHASES),
    row(34, "voltageNL1", _DBL, "V", "Voltage between N and L1", visibility=_MAIN,
        title="Voltage L1", digits=0, group=PHASES),
    row(35, "voltageNL2", _DBL, "V", "Voltage between N and L2", visibility=_MAIN,
        title="Voltage L2", digits=0, group=PHASES),
    row(36, "voltageNL3", _DBL, "V", "Voltage between N and L3", visibility=_MAIN,
        title="Voltage L3", digits=0, group=PHASES),
    row(37, "voltageL1L2", _DBL, "V", "Voltage between L1 and L2", title="Voltage L1 L2",
        digits=0, group=PHASES),
    row(38, "voltageL1L3", _DBL, "V", "Voltage between L1 and L3", title="Voltage L1 L3",
        digits=0, group=PHASES),
    row(39, "voltageL2L3", _DBL, "V", "Voltage between L2 and L3", title="Voltage L2 L3",
        digits=0, group=PHASES),
    row(40, "activePowerImport", _DBL, "kW", "Power drawn from the grid", visibility=_MAIN,
        title="Power import", digits=2, group=ENERGY),
    row(41, "activePowerExport", _DBL, "kW", "Power fed into the grid", visibility=_MAIN,
        title="Power export", digits=2, group=ENERGY),
    row(42, "reactivePowerImport", _DBL, "kvar", "Reactive power drawn from the grid",
        group=ENERGY),
    row(43, "reactivePowerExport", _DBL, "kvar", "Reactive power fed into the grid", group=ENERGY),
    row(44, "maxPowerImport", _DBL, None, "Largest power drawn from the grid; unit not published",
        group=ENERGY),
    row(45, "cumulativeActivePowerImport", _DBL, "kWh",
        "Reading of the meter: energy drawn from the grid", visibility=_MAIN,
        title="Energy import", digits=2, state_class=_READING, group=ENERGY),
    row(46, "cumulativeActivePowerExport", _DBL, "kWh",
        "Reading of the meter: energy fed into the grid", visibility=_MAIN,
        title="Energy export", digits=2, state_class=_READING, group=ENERGY),
    row(47, "cumulativeReactivePowerImport", _DBL, "kvarh",
        "Reading of the meter: reactive energy drawn from the grid", group=ENERGY),
    row(48, "cumulativeReactivePowerExport", _DBL, "kvarh",
        "Reading of the meter: reactive energy fed into the grid", group=ENERGY),
    row(49, "clockAndDateMeter", _STR, None, "The meter's clock", harmless="the meter's clock"),
    row(50, "rcpi", _DBL, "dBm", "Received power of its WiFi", visibility=_DIAGNOSTIC,
        title="WiFi signal", group=RADIO),
    row(51, "ssid", _STR, None, "Name of the WiFi network it uses",
        personal="the name of a network tells whose it is, and maps of networks tell where",
        group=RADIO),
    row(55, "masterBackPlateID", _STR, None, "Back plate of the primary charger",
        personal="it ties the meter of a household to the charger beside it"),
    row(56, "equalizerID", _STR, None, "Its own hardware id",
        personal="it ties the meter of a household to the device beside it"),
    row(57, "childReport", _STR, None, "What the chargers behind it report", harmless=_MAKERS,
        visibility=_HIDDEN),
    row(58, "connectivityReport", _STR, None, "How it is connected", harmless=_MAKERS,
        visibility=_HIDDEN),
    row(60, "exceptionData", _STR, None, "Diagnostic text after a failure", harmless=_MAKERS,
        visibility=_HIDDEN),
    row(61, "bootReason", _STR, None, "Why it started", harmless=_CODE),
    row(64, "highCurrentTransitions", _INT, "count", "Transitions to a high current"),
    row(65, "vCap", _DBL, "V", "Voltage of its capacitor"),
    row(66, "vBusMin", _DBL, "V", "Lowest voltage of the meter's bus"),
    row(67, "vbusMax", _DBL, "V", "Highest voltage of the meter's bus"),
    row(68, "internalTemperature", _DBL, None, "Temperature inside; unit not published",
        group=TEMPERATURES),
    row(69, "meterDataSnapshot", _STR, None, "The meter's own words",
        personal=f"what the meter says as it says it: {_METER}"),
    row(70, "localRSSI", _INT, "dBm", "Signal of the radio between the devices", group=RADIO),
    row(71, "localTxPower", _INT, "dBm", "Transmission power of that radio", group=RADIO),
    row(72, "localRadioChannel", _INT, None, "Channel of that radio", group=RADIO),
    row(73, "localShortAddress", _INT, None, "Its address there", group=RADIO),
    row(74, "localNodeType", _INT, None, "Its role there", labels=enumerations.NODE_TYPE,
        group=RADIO),
    row(75, "localParentAddress", _INT, None, "The address of its parent there", group=RADIO),
    row(80, "circuitPhaseMapping", _STR, None, "Which phase of the meter is which of the circuit",
        harmless=_SETTING, group=SETTINGS),
    row(81, "phaseMappingReport", _STR, None, "How that was found", harmless=_SETTING,
        visibility=_HIDDEN),
    row(82, "phaseLearningStatus", _STR, None, "How far the search for it is", harmless=_CODE),
    row(85, "modbusConfiguration", _STR, None, "Modbus settings of the meter", harmless=_SETTING,
        visibility=_HIDDEN, group=SETTINGS),
    row(86, "loadbalanceThrottle", _INT, None, "Throttle of the load balancing", group=LIMITS),
    row(87, "availableCurrentL1", _DBL, "A", "Current left for charging, L1", visibility=_MAIN,
        title="Available current L1", digits=1, group=LIMITS),
    row(88, "availableCurrentL2", _DBL, "A", "Current left for charging, L2", visibility=_MAIN,
        title="Available current L2", digits=1, group=LIMITS),
    row(89, "availableCurrentL3", _DBL, "A", "Current left for charging, L3", visibility=_MAIN,
        title="Available current L3", digits=1, group=LIMITS),
    row(90, "meterErrors", _INT, "count", "Errors in reading the meter"),
    row(91, "APMacAddress", _STR, None, "Hardware address of its access point",
        personal="a hardware address is seen by others within reach, and maps of networks tell "
        "where", group=RADIO),
    row(92, "wifiReconnects", _INT, "count", "WiFi reconnects", group=RADIO),
    row(100, "ledMode", _INT, None, "What its light shows", visibility=_HIDDEN),
    row(105, "equalizedChargeCurrentL1", _DBL, "A", "Current given to the chargers, L1",
        title="Charge current L1", digits=1, group=LIMITS),
    row(106, "equalizedChargeCurrentL2", _DBL, "A", "Current given to the chargers, L2",
        title="Charge current L2", digits=1, group=LIMITS),
    row(107, "equalizedChargeCurrentL3", _DBL, "A", "Current given to the chargers, L3",
        title="Charge current L3", digits=1, group=LIMITS),
    row(110, "currentTransformerConfig", _STR, None, "Settings of the current transformers",
        harmless=_SETTING, visibility=_HIDDEN, group=SETTINGS),
    row(111, "meterEncryptionStatus", _STR, None, "Encryption of the meter's data",
        harmless=_CODE),
    row(115, "surplusCharging", _STR, None, "Settings for charging on surplus energy",
        harmless=_SETTING, visibility=_DIAGNOSTIC, group=SETTINGS),
    row(120, "connectedAmps", _DBL, "A", "Connected current; type and unit not published",
        group=LIMITS),
    row(250, "connectedToCloud", _BOOL, None,
        "The cloud has a link to it; said by the cloud, on change", visibility=_DIAGNOSTIC,
        device_class="connectivity", group=STATUS),
    row(251, "cloudDisconnectReason", _STR, None,
        "Why the cloud lost that link; said by the cloud", harmless=_CODE,
        visibility=_DIAGNOSTIC, group=STATUS),
)  # fmt: skip

EQUALIZER: Final[Mapping[int, ObservationSpec]] = MappingProxyType({one.id: one for one in _ROWS})
# All of them are read in one call.
EQUALIZER_IDS: Final = tuple(sorted(EQUALIZER))
SITE_STRUCTURE_ID: Final = 20
FIRMWARE_ID: Final = 21
SURPLUS_ID: Final = 115


def equalizer_spec_of(observation_id: int) -> ObservationSpec:
    """Return the row of an Equalizer's observation, or a generated one for an unknown id."""
    return EQUALIZER.get(observation_id) or _undescribed(observation_id)


# Bounded: ids come from outside.
@lru_cache(maxsize=512)
def _undescribed(observation_id: int) -> ObservationSpec:
    return row(
        observation_id, "", DataType.STRING, None, "Not described anywhere yet", harmless=_MAKERS
    )
