"""Every observation a charger is known to send: one row, one topic.

Rules:

1. A row is the code and the topic reference. Nothing else of the gateway lists observations; the
   simulator has a table of its own, and a test names each difference.
2. The name in a topic follows from the vendor's name by one rule (:func:`snake_case`), so that
   nobody has to look it up.
3. The type here is a default. The type in the message wins, because published sources disagree
   on it (Integer or Double for 22 to 24, 70 to 75, 104 to 106, 111 to 114, 150 to 170, 210 to
   212; Boolean or String for 54; Boolean or Double for 173; Integer or String for 99).
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from bridge.core.easee import enumerations
from bridge.core.easee.enumerations import Labels


class DataType(enum.IntEnum):
    """The vendor's type codes, as they stand in a message."""

    BINARY = 1
    BOOLEAN = 2
    DOUBLE = 3
    INTEGER = 4
    POSITION = 5
    STRING = 6
    STATISTICS = 7


_BEFORE_WORD = re.compile(r"(.)([A-Z][a-z]+)", re.ASCII)
_AFTER_LOWER = re.compile(r"([a-z0-9])([A-Z])", re.ASCII)
_NO_LABELS: Final[Labels] = MappingProxyType({})


def snake_case(vendor_name: str) -> str:
    """Turn the vendor's ``InCurrentT3`` into ``in_current_t3``."""
    return _AFTER_LOWER.sub(r"\1_\2", _BEFORE_WORD.sub(r"\1_\2", vendor_name)).lower()


@dataclass(frozen=True, slots=True, eq=False)
class ObservationSpec:
    """What is known of one observation. Specs are shared, so identity is equality.

    Attributes:
        id: The vendor's observation id.
        vendor_name: As published, e.g. ``"InCurrentT3"``; empty when nobody has named it.
        kind: How to read the value when the message does not say.
        unit: As the vendor measures, e.g. ``"kW"``; None when there is none.
        description: One line for the topic reference.
        labels: Code to snake_case label; empty when the value is not a code.
        personal: Never retained, and hashed unless the operator wants it plain.
        privacy: Why it is personal, or why it is not.
        auth_field: A JSON text that may carry a tag in a field of its own.
        always_text: Text whatever the message says: digits that are no quantity, or a session.
        name: The last level of its topics.
    """

    id: int
    vendor_name: str
    kind: DataType
    unit: str | None
    description: str
    labels: Labels = field(default_factory=lambda: _NO_LABELS)
    personal: bool = False
    privacy: str = ""
    auth_field: bool = False
    always_text: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        name = snake_case(self.vendor_name) if self.vendor_name else f"observation_{self.id}"
        object.__setattr__(self, "name", name)


_LABELS: Final[Mapping[int, Labels]] = {
    19: enumerations.BACKPLATE_TYPE,
    21: enumerations.GRID_TYPE,
    32: enumerations.TEMPERATURE_MONITOR,
    38: enumerations.PHASE_MODE,
    45: enumerations.OFFLINE_CHARGING_MODE,
    46: enumerations.LED_MEANING,
    89: enumerations.REBOOT_REASON,
    96: enumerations.NO_CURRENT_REASON,
    99: enumerations.LOCAL_CONNECTION,
    100: enumerations.PILOT_MODE,
    109: enumerations.OP_MODE,
    110: enumerations.OUTPUT_PHASE,
    123: enumerations.LEGACY_EV,
    141: enumerations.CURRENT_CONNECTION,
    146: enumerations.NODE_TYPE,
}

# Whom it belongs to, where it stands, which networks are around: none of a broker's business.
_PERSONAL: Final[Mapping[int, str]] = {
    20: "address of the site, with owner, installer and their telephone numbers",
    25: "where the charger stands",
    36: "the name of a network tells whose it is, and maps of networks tell where",
    69: "an RFID tag: it stands for a person and opens what knows it",
    81: "a SIM card belongs to a contract, and a contract to somebody",
    108: "an RFID tag, spelled from behind",
    128: "an RFID tag: who charges, and when",
    140: "the networks within reach tell where the charger stands",
    241: "a hardware address is seen by others within reach, and maps of networks tell where",
}

# A number measures, counts or sets something, unless it is listed here. A text is looked at one by
# one: a row without an entry in this table or the one above fails its test.
NAMES_NOBODY: Final = "a number that names nobody"
_ID: Final = "an id of the vendor's, like the serial in the topic: it leads to nobody by itself"
_MAKERS: Final = "text for its makers; fields that name somebody are taken out where it is JSON"
_CODE: Final = "one of a few words"
_SESSION: Final = "the tag is taken out, the rest is what the charger did"
_NOT_PERSONAL: Final[Mapping[int, str]] = {
    1: _CODE,
    2: "steps of a test of the hardware",
    5: _MAKERS,
    6: _MAKERS,
    8: _MAKERS,
    14: "what chargers tell each other; fields that name somebody are taken out where it is JSON",
    26: _ID,
    27: _ID,
    54: _CODE,
    60: _SESSION,
    62: "times and currents; fields that name somebody are taken out",
    65: "the serial of a device of the same account, like the one in the topic",
    82: "a version",
    84: "an operator with millions of customers",
    100: _CODE,
    107: _ID,
    117: _MAKERS,
    118: _MAKERS,
    129: _SESSION,
    133: "an address inside the operator's network, changed at will",
    134: "an address inside the house, the same in millions of houses",
    135: _CODE,
    137: _ID,
    139: _CODE,
    156: _MAKERS,
    157: _MAKERS,
    223: _SESSION,
    233: _MAKERS,
    234: _MAKERS,
    240: _MAKERS,
    251: _CODE,
}

# What versions before 1.0 retained and this one does not: the broker is made to forget it.
RETAINED_ONCE: Final = (20,)

# 129 and 223 carry an Auth field, which is taken out. 60 is a signed form of 129 that nobody has
# described; it is expected to carry one too, and is not published where it cannot be read.
AUTH_FIELD_IDS: Final = frozenset({60, 129, 223})

# An ICCID has 19 or 20 digits and overflows 64 bits; a site id as text stays text. A wrong type
# must not cost a session.
ALWAYS_TEXT_IDS: Final = frozenset({26, 81}) | AUTH_FIELD_IDS

_BOOL: Final = DataType.BOOLEAN
_DBL: Final = DataType.DOUBLE
_INT: Final = DataType.INTEGER
_POS: Final = DataType.POSITION
_STR: Final = DataType.STRING

# id, vendor's name, type, unit, description. Names, types and units are the vendor's where the
# vendor publishes them and what clients agree on otherwise.
_ROWS: Final[tuple[tuple[int, str, DataType, str | None, str], ...]] = (
    (1, "SelfTestResult", _STR, None, "Built-in self test: a pass word or error codes"),
    (2, "SelfTestDetails", _STR, "json", "Self test, step by step"),
    (5, "DebugLog", _STR, None, "Only the name is published"),
    (6, "", _STR, None, "Seen with value 0"),
    (8, "", _STR, "json", "Seen with a server and a client object in it"),
    (10, "WifiEvent", _INT, None, "WiFi event code, sent in debug mode only"),
    (11, "ChargerOfflineReason", _INT, None, "Why it was offline, told once it is back"),
    (13, "EaseeLinkCommandResponse", _INT, None, "Answer to a command between chargers"),
    (14, "EaseeLinkDataReceived", _STR, None, "What another charger sent over the local link"),
    (
        15,
        "LocalPreAuthorizeEnabled",
        _BOOL,
        None,
        "Tags on the local whitelist are taken without asking the cloud",
    ),
    (
        16,
        "LocalAuthorizeOfflineEnabled",
        _BOOL,
        None,
        "While offline, tags on the local whitelist may charge",
    ),
    (17, "AllowOfflineTxForUnknownId", _BOOL, None, "While offline, every tag may charge"),
    (
        18,
        "ErraticEvMaxToggles",
        _INT,
        "count",
        "Toggles a car may make before it counts as erratic; 0 never",
    ),
    (19, "BackplateType", _INT, None, "Kind of back plate"),
    (20, "SiteStructure", _STR, "json", "The site as the installer set it up, with its address"),
    (21, "DetectedPowerGridType", _INT, None, "Grid found when it started"),
    (
        22,
        "CircuitMaxCurrentP1",
        _DBL,
        "A",
        "Installer's limit of the circuit, phase 1; flash memory",
    ),
    (
        23,
        "CircuitMaxCurrentP2",
        _DBL,
        "A",
        "Installer's limit of the circuit, phase 2; flash memory",
    ),
    (
        24,
        "CircuitMaxCurrentP3",
        _DBL,
        "A",
        "Installer's limit of the circuit, phase 3; flash memory",
    ),
    (25, "Location", _POS, "deg", "Latitude, longitude and more, as comma separated text"),
    (26, "SiteIdString", _STR, None, "Site id as text"),
    (27, "SiteIdNumeric", _INT, None, "Site id as a number"),
    (
        28,
        "RfidAuthTimeoutSec",
        _INT,
        "s",
        "Patience with the cloud's answer to a tag before offline rules apply",
    ),
    (
        30,
        "LockCablePermanently",
        _BOOL,
        None,
        "The cable stays locked to the charger without a car",
    ),
    (31, "IsEnabled", _BOOL, None, "The charger may be used at all"),
    (32, "TemperatureMonitorState", _INT, None, "What the thermal monitor does; not a temperature"),
    (33, "CircuitSequenceNumber", _INT, None, "Which charger of its circuit this is"),
    (34, "SinglePhaseNumber", _INT, None, "The phase single-phase charging uses"),
    (35, "Enable3PhasesDeprecated", _BOOL, None, "Old permission to use three phases"),
    (36, "WiFiSsid", _STR, None, "Name of the WiFi network it uses"),
    (37, "EnableIdleCurrent", _BOOL, None, "Current stays on offer after the car has finished"),
    (38, "PhaseMode", _INT, None, "How many phases it may use"),
    (
        39,
        "ForcedThreePhaseOnItWithGndFault",
        _BOOL,
        None,
        "Three phases by hand on an IT grid that looks faulty",
    ),
    (40, "LedStripBrightness", _INT, "%", "Brightness of the light strip"),
    (41, "LocalAuthorizationRequired", _BOOL, None, "Charging needs a tag, checked locally"),
    (42, "AuthorizationRequired", _BOOL, None, "Charging needs authorization by the cloud"),
    (43, "RemoteStartRequired", _BOOL, None, "Charging needs a start command"),
    (44, "SmartButtonEnabled", _BOOL, None, "Presses of the touch button are passed on"),
    (45, "OfflineChargingMode", _INT, None, "Who may charge while offline"),
    (46, "LedMode", _INT, None, "What the light strip shows"),
    (47, "MaxChargerCurrent", _DBL, "A", "Highest current of the charger; flash memory"),
    (
        48,
        "DynamicChargerCurrent",
        _DBL,
        "A",
        "Limit of the charger until changed, expired or restarted; 0 pauses",
    ),
    (
        50,
        "OfflineMaxCircuitCurrentP1",
        _INT,
        "A",
        "Limit of the circuit while load balancing is offline, phase 1",
    ),
    (
        51,
        "OfflineMaxCircuitCurrentP2",
        _INT,
        "A",
        "Limit of the circuit while load balancing is offline, phase 2",
    ),
    (
        52,
        "OfflineMaxCircuitCurrentP3",
        _INT,
        "A",
        "Limit of the circuit while load balancing is offline, phase 3",
    ),
    (54, "ReleaseCableAtPowerOff", _STR, None, "Yes or No: the cable is let go when power fails"),
    (
        56,
        "ListenToControlPulse",
        _BOOL,
        None,
        "It counts as online only while the cloud's pulse arrives",
    ),
    (57, "ControlPulseRtt", _INT, "ms", "Round trip of the cloud's pulse"),
    (60, "ChargingSessionSigned", _STR, "json", "Finished session with a signature"),
    (62, "ChargingSchedule", _STR, "json", "Schedule stored in the charger"),
    (65, "PairedEqualizer", _STR, None, "The Equalizer it is paired with"),
    (68, "WiFiApEnabled", _BOOL, None, "Its own WiFi access point is on"),
    (69, "PairedUserIdToken", _STR, None, "Tag read in pairing mode"),
    (
        70,
        "CircuitTotalAllocatedPhaseConductorCurrentL1",
        _DBL,
        "A",
        "Given out on L1 to the whole circuit; primary only",
    ),
    (
        71,
        "CircuitTotalAllocatedPhaseConductorCurrentL2",
        _DBL,
        "A",
        "Given out on L2 to the whole circuit; primary only",
    ),
    (
        72,
        "CircuitTotalAllocatedPhaseConductorCurrentL3",
        _DBL,
        "A",
        "Given out on L3 to the whole circuit; primary only",
    ),
    (
        73,
        "CircuitTotalPhaseConductorCurrentL1",
        _DBL,
        "A",
        "Drawn on L1 by the whole circuit; primary only",
    ),
    (
        74,
        "CircuitTotalPhaseConductorCurrentL2",
        _DBL,
        "A",
        "Drawn on L2 by the whole circuit; primary only",
    ),
    (
        75,
        "CircuitTotalPhaseConductorCurrentL3",
        _DBL,
        "A",
        "Drawn on L3 by the whole circuit; primary only",
    ),
    (76, "NumberOfCarsConnected", _INT, "count", "Cars plugged in on the circuit"),
    (77, "NumberOfCarsCharging", _INT, "count", "Cars charging on the circuit"),
    (78, "NumberOfCarsInQueue", _INT, "count", "Cars waiting for power on the circuit"),
    (79, "NumberOfCarsFullyCharged", _INT, "count", "Cars on the circuit that seem to be full"),
    (80, "SoftwareRelease", _INT, None, "Firmware release"),
    (81, "Iccid", _STR, None, "Number of the SIM card"),
    (82, "ModemFwId", _STR, None, "Firmware of the modem"),
    (83, "OtaErrorCode", _INT, None, "Error of a firmware update"),
    (84, "MobileNetworkOperator", _STR, None, "Mobile network"),
    (89, "RebootReason", _INT, None, "Why it last restarted"),
    (90, "PowerPcbVersion", _INT, None, "Revision of the power board"),
    (91, "ComPcbVersion", _INT, None, "Revision of the communication board"),
    (96, "ReasonForNoCurrent", _INT, None, "Why there is no current, or less than possible"),
    (
        97,
        "LoadBalancingNumberOfConnectedChargers",
        _INT,
        "count",
        "Chargers that share a limit, this primary included",
    ),
    (98, "UdpNumOfConnectedNodes", _INT, "count", "Chargers that reach this primary over WiFi"),
    (99, "LocalConnection", _INT, None, "How a secondary reaches its primary"),
    (100, "PilotMode", _STR, None, "IEC 61851 letter of the control pilot"),
    (101, "CarConnectedDeprecated", _BOOL, None, "Old flag: a car is plugged in"),
    (102, "SmartCharging", _BOOL, None, "Smart charging is on; the strip is blue"),
    (103, "CableLocked", _BOOL, None, "The cable is locked now"),
    (
        104,
        "CableRating",
        _DBL,
        "A",
        "What the cable may carry; -1 without one, 1000 and more look like mA",
    ),
    (105, "PilotHigh", _INT, "V", "High level of the control pilot"),
    (106, "PilotLow", _INT, "V", "Low level of the control pilot"),
    (107, "BackPlateId", _STR, None, "Id of the back plate"),
    (108, "UserIdTokenReversed", _STR, None, "Tag with its bytes in reverse order"),
    (109, "ChargerOpMode", _INT, None, "What the charger is doing"),
    (110, "OutputPhase", _INT, None, "Phases given to the car"),
    (
        111,
        "DynamicCircuitCurrentP1",
        _DBL,
        "A",
        "Limit of the circuit until changed or expired, phase 1",
    ),
    (
        112,
        "DynamicCircuitCurrentP2",
        _DBL,
        "A",
        "Limit of the circuit until changed or expired, phase 2",
    ),
    (
        113,
        "DynamicCircuitCurrentP3",
        _DBL,
        "A",
        "Limit of the circuit until changed or expired, phase 3",
    ),
    (114, "OutputCurrent", _DBL, "A", "Current the car is told it may draw"),
    (115, "DeratedCurrent", _DBL, "A", "Current left when it is too warm"),
    (116, "DeratingActive", _BOOL, None, "It is too warm for full current"),
    (117, "DebugString", _STR, None, "Text for its makers"),
    (118, "ErrorString", _STR, None, "Error in words"),
    (119, "ErrorCode", _INT, None, "Error number; 0 none"),
    (120, "TotalPower", _DBL, "kW", "Charging power; sent on change, so silent while constant"),
    (
        121,
        "SessionEnergy",
        _DBL,
        "kWh",
        "Energy of the running session; may lag and may repeat the last one",
    ),
    (122, "EnergyPerHour", _DBL, "kWh", "Energy of the hour that just ended"),
    (123, "LegacyEvStatus", _INT, None, "Special treatment of old cars"),
    (124, "LifetimeEnergy", _DBL, "kWh", "Meter reading, about once an hour"),
    (125, "LifetimeRelaySwitches", _INT, "count", "Relay operations so far"),
    (126, "LifetimeHours", _INT, "h", "Hours in service so far"),
    (
        127,
        "DynamicCurrentOfflineFallbackDeprecated",
        _INT,
        "A",
        "Old limit while offline, replaced by 50 to 52",
    ),
    (128, "UserIdToken", _STR, None, "Tag that was read; not the start of a session"),
    (129, "ChargingSession", _STR, "json", "Finished session: the billing record"),
    (130, "CellRssi", _INT, "dBm", "Cellular signal"),
    (131, "CellRat", _INT, None, "Cellular technology"),
    (132, "WiFiRssi", _INT, "dBm", "WiFi signal"),
    (133, "CellAddress", _STR, None, "IP address on the cellular network"),
    (134, "WiFiAddress", _STR, None, "IP address on the WiFi network"),
    (135, "WiFiType", _STR, None, "WiFi generation, in letters"),
    (136, "LocalRssi", _INT, "dBm", "Signal of the radio between chargers"),
    (137, "MasterBackPlateId", _STR, None, "Id of the primary's back plate"),
    (138, "LocalTxPower", _INT, "dBm", "Transmit power of the radio between chargers"),
    (139, "LocalState", _STR, None, "State of the radio between chargers"),
    (140, "FoundWiFi", _STR, "json", "WiFi networks within reach"),
    (141, "CurrentConnection", _INT, None, "How it reaches the internet"),
    (142, "CellularInterfaceErrorCount", _INT, "count", "Cellular errors since it started"),
    (143, "CellularInterfaceResetCount", _INT, "count", "Cellular resets since it started"),
    (144, "WifiInterfaceErrorCount", _INT, "count", "WiFi errors since it started"),
    (145, "WifiInterfaceResetCount", _INT, "count", "WiFi resets since it started"),
    (146, "LocalNodeType", _INT, None, "Its role among the chargers"),
    (147, "LocalRadioChannel", _INT, None, "Channel of the radio between chargers"),
    (148, "LocalShortAddress", _INT, None, "Its address among the chargers"),
    (
        149,
        "LocalParentAddrOrNumOfNodes",
        _INT,
        None,
        "Primary: how many secondaries; secondary: its parent",
    ),
    (150, "TempMax", _DBL, "degC", "Warmest spot inside"),
    (151, "TempAmbientPowerBoard", _DBL, "degC", "Below the power board"),
    (152, "TempInputT2", _DBL, "degC", "Input terminal T2"),
    (153, "TempInputT3", _DBL, "degC", "Input terminal T3"),
    (154, "TempInputT4", _DBL, "degC", "Input terminal T4"),
    (155, "TempInputT5", _DBL, "degC", "Input terminal T5"),
    (156, "", _STR, None, "Seen with value 170"),
    (157, "", _STR, None, "Seen with value 0"),
    (160, "TempOutputN", _DBL, "degC", "Type 2 socket, N"),
    (161, "TempOutputL1", _DBL, "degC", "Type 2 socket, L1"),
    (162, "TempOutputL2", _DBL, "degC", "Type 2 socket, L2"),
    (163, "TempOutputL3", _DBL, "degC", "Type 2 socket, L3"),
    (164, "TempRelayN", _INT, "degC", "Below the relay of N, Easee One"),
    (165, "TempRelayL", _INT, "degC", "Below the relay of L, Easee One"),
    (166, "TempAmbientPowerBoardTop", _INT, "degC", "Above the power board"),
    (170, "TempAmbient", _DBL, "degC", "Around the communication board"),
    (171, "LightAmbient", _INT, "%", "Light at the front"),
    (172, "IntRelHumidity", _INT, "%", "Relative humidity inside"),
    (173, "BackPlateLocked", _BOOL, None, "The charger is locked to its back plate"),
    (174, "CurrentMotor", _DBL, "A", "Current of the cable lock's motor"),
    (175, "BackPlateHallSensor", _INT, "mV", "Back plate sensor, unprocessed"),
    (182, "InCurrentT2", _DBL, "A", "Input current at T2; N on TN grids"),
    (183, "InCurrentT3", _DBL, "A", "Input current at T3; L1 on TN grids"),
    (184, "InCurrentT4", _DBL, "A", "Input current at T4; L2 on TN grids"),
    (185, "InCurrentT5", _DBL, "A", "Input current at T5; L3 on TN grids"),
    (190, "InVoltageT1T2", _DBL, "V", "Input voltage between T1 and T2"),
    (191, "InVoltageT1T3", _DBL, "V", "Input voltage between T1 and T3"),
    (192, "InVoltageT1T4", _DBL, "V", "Input voltage between T1 and T4"),
    (193, "InVoltageT1T5", _DBL, "V", "Input voltage between T1 and T5"),
    (194, "InVoltageT2T3", _DBL, "V", "Input voltage between T2 and T3; L1 to N on TN grids"),
    (195, "InVoltageT2T4", _DBL, "V", "Input voltage between T2 and T4; L2 to N on TN grids"),
    (196, "InVoltageT2T5", _DBL, "V", "Input voltage between T2 and T5; L3 to N on TN grids"),
    (197, "InVoltageT3T4", _DBL, "V", "Input voltage between T3 and T4"),
    (198, "InVoltageT3T5", _DBL, "V", "Input voltage between T3 and T5"),
    (199, "InVoltageT4T5", _DBL, "V", "Input voltage between T4 and T5"),
    (200, "NominalVoltage", _INT, "V", "Nominal voltage it is set to, Easee One"),
    (202, "OutVoltPin1And2", _DBL, "V", "Output voltage between pins 1 and 2"),
    (203, "OutVoltPin1And3", _DBL, "V", "Output voltage between pins 1 and 3"),
    (204, "OutVoltPin1And4", _DBL, "V", "Output voltage between pins 1 and 4"),
    (205, "OutVoltPin1And5", _DBL, "V", "Output voltage between pins 1 and 5"),
    (206, "OutVoltPin2And3", _DBL, "V", "Output voltage between pins 2 and 3"),
    (210, "VoltLevel33", _DBL, "V", "Internal 3.3 V supply"),
    (211, "VoltLevel5", _DBL, "V", "Internal 5 V supply"),
    (212, "VoltLevel12", _DBL, "V", "Internal 12 V supply"),
    (219, "FatalErrorCode", _INT, None, "Fatal error number; 0 none"),
    (220, "LteRsrp", _INT, "dBm", "LTE reference signal power"),
    (221, "LteSinr", _INT, "dB", "LTE signal to noise"),
    (222, "LteRsrq", _INT, "dB", "LTE reference signal quality"),
    (223, "ChargingSessionStart", _STR, "json", "A session began"),
    (230, "EqAvailableCurrentP1", _DBL, "A", "What the Equalizer leaves for charging, phase 1"),
    (231, "EqAvailableCurrentP2", _DBL, "A", "What the Equalizer leaves for charging, phase 2"),
    (232, "EqAvailableCurrentP3", _DBL, "A", "What the Equalizer leaves for charging, phase 3"),
    (233, "", _STR, None, "Seen with value 0"),
    (234, "", _STR, None, "Seen with value 0"),
    (240, "DiagnosticsString", _STR, None, "Diagnostic text, in diagnostics mode only"),
    (241, "WiFiMacAddress", _STR, None, "Hardware address of its WiFi"),
    (
        250,
        "ConnectedToCloud",
        _BOOL,
        None,
        "The cloud has a link to the charger; said by the cloud, on change",
    ),
    (251, "CloudDisconnectReason", _STR, None, "Why the cloud lost that link; said by the cloud"),
)


def _spec(row: tuple[int, str, DataType, str | None, str]) -> ObservationSpec:
    observation_id = row[0]
    return ObservationSpec(
        *row,
        labels=_LABELS.get(observation_id, _NO_LABELS),
        personal=observation_id in _PERSONAL,
        privacy=_PERSONAL.get(observation_id) or _NOT_PERSONAL.get(observation_id, NAMES_NOBODY),
        auth_field=observation_id in AUTH_FIELD_IDS,
        always_text=observation_id in ALWAYS_TEXT_IDS,
    )


REGISTRY: Final[Mapping[int, ObservationSpec]] = MappingProxyType(
    {row[0]: _spec(row) for row in _ROWS}
)


def spec_of(observation_id: int) -> ObservationSpec:
    """Return the row of an observation, or one made for an id that nobody has described."""
    return REGISTRY.get(observation_id) or _undescribed(observation_id)


# Bounded: ids come from outside.
@lru_cache(maxsize=512)
def _undescribed(observation_id: int) -> ObservationSpec:
    return ObservationSpec(
        observation_id, "", DataType.STRING, None, "Not described anywhere yet", privacy=_MAKERS
    )
