"""Every observation a charger is known to send: one row, one topic.

Rules:

1. A row is the code and the topic reference. Nothing else of the gateway lists observations; the
   simulator has a table of its own, and a test names each difference.
2. The type here is a default. The type in the message wins, because published sources disagree
   on it (Integer or Double for 22 to 24, 70 to 75, 104 to 106, 111 to 114, 150 to 170, 210 to
   212; Boolean or String for 54; Boolean or Double for 173; Integer or String for 99).
3. Names, types and units are the vendor's where the vendor publishes them and what clients agree
   on otherwise.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from bridge.core.easee import enumerations
from bridge.core.easee.observation_spec import DataType, ObservationSpec, Visibility, row

_BOOL: Final = DataType.BOOLEAN
_DBL: Final = DataType.DOUBLE
_INT: Final = DataType.INTEGER
_POS: Final = DataType.POSITION
_STR: Final = DataType.STRING

_MAIN: Final = Visibility.MAIN
_DIAGNOSTIC: Final = Visibility.DIAGNOSTIC
# Replaced by others, told in words by derived values, or of no use to anybody who looks at a
# dashboard.
_HIDDEN: Final = Visibility.HIDDEN

# Why a text is not personal.
_ID: Final = "an id of the vendor's, like the serial in the topic: not personal by itself"
_MAKERS: Final = "diagnostic text; fields with personal data are removed if it is JSON"
_CODE: Final = "one of a few fixed words"
_SESSION: Final = "without the tag only data of the charger"

# Access and the lasting limits. The dynamic ones (48, 111 to 113) a load balancer moves all day.
_SETTING: Final = "foreign_command"

# An ICCID has 19 or 20 digits and overflows 64 bits; a site id as text stays text. A wrong type
# must not cost a session. 129 and 223 carry an Auth field, which is taken out; 60 is a signed form
# of 129 that nobody has described, is expected to carry one too, and is not published where it
# cannot be read. A session's energy falls back to 0, which Home Assistant's energy dashboard would
# count twice: it has no state class, on purpose. A lock is "on" while it is open.
_ROWS: Final[tuple[ObservationSpec, ...]] = (
    row(1, "SelfTestResult", _STR, None, "Built-in self test: a pass word or error codes",
        harmless=_CODE),
    row(2, "SelfTestDetails", _STR, "json", "Self test, step by step",
        harmless="steps of a test of the hardware"),
    row(5, "DebugLog", _STR, None, "Only the name is published", harmless=_MAKERS,
        visibility=_HIDDEN),
    row(6, "", _STR, None, "Seen with value 0", harmless=_MAKERS),
    row(8, "", _STR, "json", "Seen with a server and a client object in it", harmless=_MAKERS),
    row(10, "WifiEvent", _INT, None, "WiFi event code, sent in debug mode only"),
    row(11, "ChargerOfflineReason", _INT, None, "Why it was offline, told once it is back"),
    row(13, "EaseeLinkCommandResponse", _INT, None, "Answer to a command between chargers"),
    row(14, "EaseeLinkDataReceived", _STR, None, "What another charger sent over the local link",
        harmless="what chargers tell each other; fields that name somebody are taken out where it "
        "is JSON", visibility=_HIDDEN),
    row(15, "LocalPreAuthorizeEnabled", _BOOL, None,
        "Tags on the local whitelist are taken without asking the cloud", event=_SETTING,
        visibility=_MAIN),
    row(16, "LocalAuthorizeOfflineEnabled", _BOOL, None,
        "While offline, tags on the local whitelist may charge", event=_SETTING, visibility=_MAIN),
    row(17, "AllowOfflineTxForUnknownId", _BOOL, None, "While offline, every tag may charge",
        event=_SETTING, visibility=_MAIN),
    row(18, "ErraticEvMaxToggles", _INT, "count",
        "Toggles a car may make before it counts as erratic; 0 never"),
    row(19, "BackplateType", _INT, None, "Kind of back plate", labels=enumerations.BACKPLATE_TYPE),
    row(20, "SiteStructure", _STR, "json", "The site as the installer set it up, with its address",
        personal="address of the site, with owner, installer and their telephone numbers",
        retained_once=True),
    row(21, "DetectedPowerGridType", _INT, None, "Grid found when it started",
        labels=enumerations.GRID_TYPE),
    row(22, "CircuitMaxCurrentP1", _DBL, "A",
        "Installer's limit of the circuit, phase 1; flash memory", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(23, "CircuitMaxCurrentP2", _DBL, "A",
        "Installer's limit of the circuit, phase 2; flash memory", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(24, "CircuitMaxCurrentP3", _DBL, "A",
        "Installer's limit of the circuit, phase 3; flash memory", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(25, "Location", _POS, "deg", "Latitude, longitude and more, as comma separated text",
        personal="where the charger stands"),
    row(26, "SiteIdString", _STR, None, "Site id as text", harmless=_ID, always_text=True,
        visibility=_HIDDEN),
    row(27, "SiteIdNumeric", _INT, None, "Site id as a number", harmless=_ID, visibility=_HIDDEN),
    row(28, "RfidAuthTimeoutSec", _INT, "s",
        "Patience with the cloud's answer to a tag before offline rules apply"),
    row(30, "LockCablePermanently", _BOOL, None,
        "The cable stays locked to the charger without a car", event=_SETTING, visibility=_MAIN),
    row(31, "IsEnabled", _BOOL, None, "The charger may be used at all", event=_SETTING,
        visibility=_MAIN, title="Enabled"),
    row(32, "TemperatureMonitorState", _INT, None,
        "What the thermal monitor does; not a temperature",
        labels=enumerations.TEMPERATURE_MONITOR),
    row(33, "CircuitSequenceNumber", _INT, None, "Which charger of its circuit this is"),
    row(34, "SinglePhaseNumber", _INT, None, "The phase single-phase charging uses"),
    row(35, "Enable3PhasesDeprecated", _BOOL, None, "Old permission to use three phases",
        visibility=_HIDDEN),
    row(36, "WiFiSsid", _STR, None, "Name of the WiFi network it uses",
        personal="the name of a network tells whose it is, and maps of networks tell where"),
    row(37, "EnableIdleCurrent", _BOOL, None, "Current stays on offer after the car has finished",
        event=_SETTING, visibility=_MAIN),
    row(38, "PhaseMode", _INT, None, "How many phases it may use", labels=enumerations.PHASE_MODE,
        event=_SETTING, visibility=_MAIN),
    row(39, "ForcedThreePhaseOnItWithGndFault", _BOOL, None,
        "Three phases by hand on an IT grid that looks faulty"),
    row(40, "LedStripBrightness", _INT, "%", "Brightness of the light strip", visibility=_MAIN),
    row(41, "LocalAuthorizationRequired", _BOOL, None, "Charging needs a tag, checked locally"),
    row(42, "AuthorizationRequired", _BOOL, None, "Charging needs authorization by the cloud",
        event=_SETTING, visibility=_MAIN),
    row(43, "RemoteStartRequired", _BOOL, None, "Charging needs a start command", event=_SETTING,
        visibility=_MAIN),
    row(44, "SmartButtonEnabled", _BOOL, None, "Presses of the touch button are passed on",
        event=_SETTING, visibility=_MAIN),
    row(45, "OfflineChargingMode", _INT, None, "Who may charge while offline",
        labels=enumerations.OFFLINE_CHARGING_MODE, event=_SETTING, visibility=_MAIN),
    row(46, "LedMode", _INT, None, "What the light strip shows", labels=enumerations.LED_MEANING,
        visibility=_HIDDEN),
    row(47, "MaxChargerCurrent", _DBL, "A", "Highest current of the charger; flash memory",
        event=_SETTING, visibility=_DIAGNOSTIC),
    row(48, "DynamicChargerCurrent", _DBL, "A",
        "Limit of the charger until changed, expired or restarted; 0 pauses", visibility=_MAIN,
        title="Dynamic charger limit"),
    row(50, "OfflineMaxCircuitCurrentP1", _INT, "A",
        "Limit of the circuit while load balancing is offline, phase 1", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(51, "OfflineMaxCircuitCurrentP2", _INT, "A",
        "Limit of the circuit while load balancing is offline, phase 2", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(52, "OfflineMaxCircuitCurrentP3", _INT, "A",
        "Limit of the circuit while load balancing is offline, phase 3", event=_SETTING,
        visibility=_DIAGNOSTIC),
    row(54, "ReleaseCableAtPowerOff", _STR, None, "Yes or No: the cable is let go when power fails",
        harmless=_CODE),
    row(56, "ListenToControlPulse", _BOOL, None,
        "It counts as online only while the cloud's pulse arrives"),
    row(57, "ControlPulseRtt", _INT, "ms", "Round trip of the cloud's pulse"),
    row(60, "ChargingSessionSigned", _STR, "json", "Finished session with a signature",
        harmless=_SESSION, auth_field=True),
    row(62, "ChargingSchedule", _STR, "json", "Schedule stored in the charger",
        harmless="times and currents; fields that name somebody are taken out"),
    row(65, "PairedEqualizer", _STR, None, "The Equalizer it is paired with",
        harmless="the serial of a device of the same account, like the one in the topic"),
    row(68, "WiFiApEnabled", _BOOL, None, "Its own WiFi access point is on"),
    row(69, "PairedUserIdToken", _STR, None, "Tag read in pairing mode",
        personal="an RFID tag: it stands for a person and opens what knows it"),
    row(70, "CircuitTotalAllocatedPhaseConductorCurrentL1", _DBL, "A",
        "Given out on L1 to the whole circuit; primary only"),
    row(71, "CircuitTotalAllocatedPhaseConductorCurrentL2", _DBL, "A",
        "Given out on L2 to the whole circuit; primary only"),
    row(72, "CircuitTotalAllocatedPhaseConductorCurrentL3", _DBL, "A",
        "Given out on L3 to the whole circuit; primary only"),
    row(73, "CircuitTotalPhaseConductorCurrentL1", _DBL, "A",
        "Drawn on L1 by the whole circuit; primary only"),
    row(74, "CircuitTotalPhaseConductorCurrentL2", _DBL, "A",
        "Drawn on L2 by the whole circuit; primary only"),
    row(75, "CircuitTotalPhaseConductorCurrentL3", _DBL, "A",
        "Drawn on L3 by the whole circuit; primary only"),
    row(76, "NumberOfCarsConnected", _INT, "count", "Cars plugged in on the circuit"),
    row(77, "NumberOfCarsCharging", _INT, "count", "Cars charging on the circuit"),
    row(78, "NumberOfCarsInQueue", _INT, "count", "Cars waiting for power on the circuit"),
    row(79, "NumberOfCarsFullyCharged", _INT, "count", "Cars on the circuit that seem to be full"),
    row(80, "SoftwareRelease", _INT, None, "Firmware release", visibility=_DIAGNOSTIC,
        title="Firmware"),
    row(81, "Iccid", _STR, None, "Number of the SIM card",
        personal="a SIM card belongs to a contract, and a contract to somebody", always_text=True),
    row(82, "ModemFwId", _STR, None, "Firmware of the modem", harmless="a version"),
    row(83, "OtaErrorCode", _INT, None, "Error of a firmware update"),
    row(84, "MobileNetworkOperator", _STR, None, "Mobile network",
        harmless="an operator with millions of customers"),
    row(89, "RebootReason", _INT, None, "Why it last restarted", labels=enumerations.REBOOT_REASON),
    row(90, "PowerPcbVersion", _INT, None, "Revision of the power board"),
    row(91, "ComPcbVersion", _INT, None, "Revision of the communication board"),
    row(96, "ReasonForNoCurrent", _INT, None, "Why there is no current, or less than possible",
        labels=enumerations.NO_CURRENT_REASON, visibility=_HIDDEN),
    row(97, "LoadBalancingNumberOfConnectedChargers", _INT, "count",
        "Chargers that share a limit, this primary included"),
    row(98, "UdpNumOfConnectedNodes", _INT, "count", "Chargers that reach this primary over WiFi"),
    row(99, "LocalConnection", _INT, None, "How a secondary reaches its primary",
        labels=enumerations.LOCAL_CONNECTION),
    row(100, "PilotMode", _STR, None, "IEC 61851 letter of the control pilot",
        labels=enumerations.PILOT_MODE, harmless=_CODE, visibility=_DIAGNOSTIC),
    row(101, "CarConnectedDeprecated", _BOOL, None, "Old flag: a car is plugged in",
        visibility=_HIDDEN),
    row(102, "SmartCharging", _BOOL, None, "Smart charging is on; the strip is blue",
        event="smart_button", visibility=_MAIN),
    row(103, "CableLocked", _BOOL, None, "The cable is locked now", visibility=_MAIN,
        device_class="lock"),
    row(104, "CableRating", _DBL, "A",
        "What the cable may carry; -1 without one, 1000 and more look like mA",
        visibility=_DIAGNOSTIC),
    row(105, "PilotHigh", _INT, "V", "High level of the control pilot"),
    row(106, "PilotLow", _INT, "V", "Low level of the control pilot"),
    row(107, "BackPlateId", _STR, None, "Id of the back plate", harmless=_ID, visibility=_HIDDEN),
    row(108, "UserIdTokenReversed", _STR, None, "Tag with its bytes in reverse order",
        personal="an RFID tag, spelled from behind"),
    row(109, "ChargerOpMode", _INT, None, "What the charger is doing", labels=enumerations.OP_MODE,
        visibility=_HIDDEN),
    row(110, "OutputPhase", _INT, None, "Phases given to the car", labels=enumerations.OUTPUT_PHASE,
        visibility=_DIAGNOSTIC),
    row(111, "DynamicCircuitCurrentP1", _DBL, "A",
        "Limit of the circuit until changed or expired, phase 1", visibility=_DIAGNOSTIC),
    row(112, "DynamicCircuitCurrentP2", _DBL, "A",
        "Limit of the circuit until changed or expired, phase 2", visibility=_DIAGNOSTIC),
    row(113, "DynamicCircuitCurrentP3", _DBL, "A",
        "Limit of the circuit until changed or expired, phase 3", visibility=_DIAGNOSTIC),
    row(114, "OutputCurrent", _DBL, "A", "Current the car is told it may draw", visibility=_MAIN,
        title="Current offered to the car"),
    row(115, "DeratedCurrent", _DBL, "A", "Current left when it is too warm",
        visibility=_DIAGNOSTIC),
    row(116, "DeratingActive", _BOOL, None, "It is too warm for full current",
        visibility=_DIAGNOSTIC, title="Too warm for full current", device_class="heat"),
    row(117, "DebugString", _STR, None, "Text for its makers", harmless=_MAKERS,
        visibility=_HIDDEN),
    row(118, "ErrorString", _STR, None, "Error in words", harmless=_MAKERS, visibility=_DIAGNOSTIC),
    row(119, "ErrorCode", _INT, None, "Error number; 0 none", event="error",
        visibility=_DIAGNOSTIC),
    row(120, "TotalPower", _DBL, "kW", "Charging power; sent on change, so silent while constant",
        visibility=_MAIN, title="Power", digits=2),
    row(121, "SessionEnergy", _DBL, "kWh",
        "Energy of the running session; may lag and may repeat the last one", visibility=_MAIN,
        digits=2),
    row(122, "EnergyPerHour", _DBL, "kWh", "Energy of the hour that just ended", visibility=_MAIN,
        title="Energy last hour", digits=2),
    row(123, "LegacyEvStatus", _INT, None, "Special treatment of old cars",
        labels=enumerations.LEGACY_EV),
    row(124, "LifetimeEnergy", _DBL, "kWh", "Meter reading, about once an hour", visibility=_MAIN,
        digits=1, state_class="total_increasing"),
    row(125, "LifetimeRelaySwitches", _INT, "count", "Relay operations so far",
        visibility=_DIAGNOSTIC, title="Relay operations", state_class="total_increasing"),
    row(126, "LifetimeHours", _INT, "h", "Hours in service so far", visibility=_DIAGNOSTIC,
        title="Hours in service", state_class="total_increasing"),
    row(127, "DynamicCurrentOfflineFallbackDeprecated", _INT, "A",
        "Old limit while offline, replaced by 50 to 52", visibility=_HIDDEN),
    row(128, "UserIdToken", _STR, None, "Tag that was read; not the start of a session",
        personal="an RFID tag: who charges, and when"),
    row(129, "ChargingSession", _STR, "json", "Finished session: the billing record",
        harmless=_SESSION, auth_field=True),
    row(130, "CellRssi", _INT, "dBm", "Cellular signal", visibility=_DIAGNOSTIC,
        title="Cellular signal"),
    row(131, "CellRat", _INT, None, "Cellular technology"),
    row(132, "WiFiRssi", _INT, "dBm", "WiFi signal", visibility=_DIAGNOSTIC, title="WiFi signal"),
    row(133, "CellAddress", _STR, None, "IP address on the cellular network",
        harmless="an address inside the operator's network, changed at will", visibility=_HIDDEN),
    row(134, "WiFiAddress", _STR, None, "IP address on the WiFi network",
        harmless="an address inside the house, the same in millions of houses", visibility=_HIDDEN),
    row(135, "WiFiType", _STR, None, "WiFi generation, in letters", harmless=_CODE),
    row(136, "LocalRssi", _INT, "dBm", "Signal of the radio between chargers"),
    row(137, "MasterBackPlateId", _STR, None, "Id of the primary's back plate", harmless=_ID,
        visibility=_HIDDEN),
    row(138, "LocalTxPower", _INT, "dBm", "Transmit power of the radio between chargers"),
    row(139, "LocalState", _STR, None, "State of the radio between chargers", harmless=_CODE),
    row(140, "FoundWiFi", _STR, "json", "WiFi networks within reach",
        personal="the networks within reach tell where the charger stands"),
    row(141, "CurrentConnection", _INT, None, "How it reaches the internet",
        labels=enumerations.CURRENT_CONNECTION, visibility=_DIAGNOSTIC),
    row(142, "CellularInterfaceErrorCount", _INT, "count", "Cellular errors since it started"),
    row(143, "CellularInterfaceResetCount", _INT, "count", "Cellular resets since it started"),
    row(144, "WifiInterfaceErrorCount", _INT, "count", "WiFi errors since it started"),
    row(145, "WifiInterfaceResetCount", _INT, "count", "WiFi resets since it started"),
    row(146, "LocalNodeType", _INT, None, "Its role among the chargers",
        labels=enumerations.NODE_TYPE),
    row(147, "LocalRadioChannel", _INT, None, "Channel of the radio between chargers"),
    row(148, "LocalShortAddress", _INT, None, "Its address among the chargers"),
    row(149, "LocalParentAddrOrNumOfNodes", _INT, None,
        "Primary: how many secondaries; secondary: its parent"),
    row(150, "TempMax", _DBL, "degC", "Warmest spot inside", visibility=_MAIN, title="Temperature"),
    row(151, "TempAmbientPowerBoard", _DBL, "degC", "Below the power board"),
    row(152, "TempInputT2", _DBL, "degC", "Input terminal T2"),
    row(153, "TempInputT3", _DBL, "degC", "Input terminal T3"),
    row(154, "TempInputT4", _DBL, "degC", "Input terminal T4"),
    row(155, "TempInputT5", _DBL, "degC", "Input terminal T5"),
    row(156, "", _STR, None, "Seen with value 170", harmless=_MAKERS),
    row(157, "", _STR, None, "Seen with value 0", harmless=_MAKERS),
    row(160, "TempOutputN", _DBL, "degC", "Type 2 socket, N"),
    row(161, "TempOutputL1", _DBL, "degC", "Type 2 socket, L1"),
    row(162, "TempOutputL2", _DBL, "degC", "Type 2 socket, L2"),
    row(163, "TempOutputL3", _DBL, "degC", "Type 2 socket, L3"),
    row(164, "TempRelayN", _INT, "degC", "Below the relay of N, Easee One"),
    row(165, "TempRelayL", _INT, "degC", "Below the relay of L, Easee One"),
    row(166, "TempAmbientPowerBoardTop", _INT, "degC", "Above the power board"),
    row(170, "TempAmbient", _DBL, "degC", "Around the communication board", visibility=_DIAGNOSTIC,
        title="Ambient temperature"),
    row(171, "LightAmbient", _INT, "%", "Light at the front"),
    row(172, "IntRelHumidity", _INT, "%", "Relative humidity inside", title="Humidity inside",
        device_class="humidity"),
    row(173, "BackPlateLocked", _BOOL, None, "The charger is locked to its back plate",
        device_class="lock"),
    row(174, "CurrentMotor", _DBL, "A", "Current of the cable lock's motor"),
    row(175, "BackPlateHallSensor", _INT, "mV", "Back plate sensor, unprocessed"),
    row(182, "InCurrentT2", _DBL, "A", "Input current at T2; N on TN grids", title="Current T2 (N)",
        digits=1),
    row(183, "InCurrentT3", _DBL, "A", "Input current at T3; L1 on TN grids", visibility=_MAIN,
        title="Current T3 (L1)", digits=1),
    row(184, "InCurrentT4", _DBL, "A", "Input current at T4; L2 on TN grids", visibility=_MAIN,
        title="Current T4 (L2)", digits=1),
    row(185, "InCurrentT5", _DBL, "A", "Input current at T5; L3 on TN grids", visibility=_MAIN,
        title="Current T5 (L3)", digits=1),
    row(190, "InVoltageT1T2", _DBL, "V", "Input voltage between T1 and T2"),
    row(191, "InVoltageT1T3", _DBL, "V", "Input voltage between T1 and T3"),
    row(192, "InVoltageT1T4", _DBL, "V", "Input voltage between T1 and T4"),
    row(193, "InVoltageT1T5", _DBL, "V", "Input voltage between T1 and T5"),
    row(194, "InVoltageT2T3", _DBL, "V", "Input voltage between T2 and T3; L1 to N on TN grids",
        visibility=_MAIN, title="Voltage T2 T3 (L1)", digits=0),
    row(195, "InVoltageT2T4", _DBL, "V", "Input voltage between T2 and T4; L2 to N on TN grids",
        visibility=_MAIN, title="Voltage T2 T4 (L2)", digits=0),
    row(196, "InVoltageT2T5", _DBL, "V", "Input voltage between T2 and T5; L3 to N on TN grids",
        visibility=_MAIN, title="Voltage T2 T5 (L3)", digits=0),
    row(197, "InVoltageT3T4", _DBL, "V", "Input voltage between T3 and T4"),
    row(198, "InVoltageT3T5", _DBL, "V", "Input voltage between T3 and T5"),
    row(199, "InVoltageT4T5", _DBL, "V", "Input voltage between T4 and T5"),
    row(200, "NominalVoltage", _INT, "V", "Nominal voltage it is set to, Easee One"),
    row(202, "OutVoltPin1And2", _DBL, "V", "Output voltage between pins 1 and 2"),
    row(203, "OutVoltPin1And3", _DBL, "V", "Output voltage between pins 1 and 3"),
    row(204, "OutVoltPin1And4", _DBL, "V", "Output voltage between pins 1 and 4"),
    row(205, "OutVoltPin1And5", _DBL, "V", "Output voltage between pins 1 and 5"),
    row(206, "OutVoltPin2And3", _DBL, "V", "Output voltage between pins 2 and 3"),
    row(210, "VoltLevel33", _DBL, "V", "Internal 3.3 V supply", title="Internal 3.3 V supply"),
    row(211, "VoltLevel5", _DBL, "V", "Internal 5 V supply", title="Internal 5 V supply"),
    row(212, "VoltLevel12", _DBL, "V", "Internal 12 V supply", title="Internal 12 V supply"),
    row(219, "FatalErrorCode", _INT, None, "Fatal error number; 0 none", event="error",
        visibility=_DIAGNOSTIC),
    row(220, "LteRsrp", _INT, "dBm", "LTE reference signal power"),
    row(221, "LteSinr", _INT, "dB", "LTE signal to noise"),
    row(222, "LteRsrq", _INT, "dB", "LTE reference signal quality"),
    row(223, "ChargingSessionStart", _STR, "json", "A session began", harmless=_SESSION,
        auth_field=True),
    row(230, "EqAvailableCurrentP1", _DBL, "A", "What the Equalizer leaves for charging, phase 1"),
    row(231, "EqAvailableCurrentP2", _DBL, "A", "What the Equalizer leaves for charging, phase 2"),
    row(232, "EqAvailableCurrentP3", _DBL, "A", "What the Equalizer leaves for charging, phase 3"),
    row(233, "", _STR, None, "Seen with value 0", harmless=_MAKERS),
    row(234, "", _STR, None, "Seen with value 0", harmless=_MAKERS),
    row(240, "DiagnosticsString", _STR, None, "Diagnostic text, in diagnostics mode only",
        harmless=_MAKERS, visibility=_HIDDEN),
    row(241, "WiFiMacAddress", _STR, None, "Hardware address of its WiFi",
        personal="a hardware address is seen by others within reach, and maps of networks tell "
        "where"),
    row(250, "ConnectedToCloud", _BOOL, None,
        "The cloud has a link to the charger; said by the cloud, on change", visibility=_DIAGNOSTIC,
        device_class="connectivity"),
    row(251, "CloudDisconnectReason", _STR, None, "Why the cloud lost that link; said by the cloud",
        harmless=_CODE, visibility=_DIAGNOSTIC),
)  # fmt: skip

REGISTRY: Final[Mapping[int, ObservationSpec]] = MappingProxyType({spec.id: spec for spec in _ROWS})
_BY_NAME: Final[Mapping[str, ObservationSpec]] = MappingProxyType(
    {spec.name: spec for spec in _ROWS}
)
# All of them are read in one call.
POLLED_IDS: Final = tuple(sorted(REGISTRY))
# What versions before 1.0 retained and this one does not.
RETAINED_ONCE: Final = tuple(spec.name for spec in _ROWS if spec.retained_once)
# Those whose change is told by an event of its own.
EVENT_IDS: Final = frozenset(spec.id for spec in _ROWS if spec.event)


def spec_of(observation_id: int) -> ObservationSpec:
    """Return the row of an observation, or a generated one for an unknown id."""
    return REGISTRY.get(observation_id) or _undescribed(observation_id)


def spec_named(name: str) -> ObservationSpec | None:
    """Return the row of an observation by its name, or None."""
    return _BY_NAME.get(name)


# Bounded: ids come from outside.
@lru_cache(maxsize=512)
def _undescribed(observation_id: int) -> ObservationSpec:
    return row(
        observation_id, "", DataType.STRING, None, "Not described anywhere yet", harmless=_MAKERS
    )
