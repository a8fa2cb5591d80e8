"""The observations that chargers and Equalizers are known to send.

Rules:

1. This table is made from the vendor's pages and from published clients, apart from the gateway's
   registry: a wrong id, name, type or unit in either is seen where the two differ
   (``tests/simulator/test_observation_table.py``).
2. Chargers and Equalizers have id spaces of their own.
3. Where published sources disagree on a type, it is the one seen on the stream.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class DataType(enum.IntEnum):
    """The vendor's type codes."""

    BINARY = 1
    BOOLEAN = 2
    DOUBLE = 3
    INTEGER = 4
    POSITION = 5
    STRING = 6
    STATISTICS = 7


class PublishedObservation(NamedTuple):
    """What is published of one observation.

    Attributes:
        id: The vendor's observation id.
        name: The vendor's; empty where none is published.
        data_type: None where none is published.
        unit: None where there is none.
    """

    id: int
    name: str
    data_type: DataType | None
    unit: str | None


_BOOLEAN: Final = DataType.BOOLEAN
_DOUBLE: Final = DataType.DOUBLE
_INTEGER: Final = DataType.INTEGER
_POSITION: Final = DataType.POSITION
_STRING: Final = DataType.STRING

_CHARGER_ROWS: Final[tuple[tuple[int, str, DataType | None, str | None], ...]] = (
    (1, "SelfTestResult", _STRING, None),
    (2, "SelfTestDetails", _STRING, "json"),
    (5, "DebugLog", None, None),
    (6, "", None, None),
    (8, "", _STRING, "json"),
    (10, "WifiEvent", _INTEGER, None),
    (11, "ChargerOfflineReason", _INTEGER, None),
    (13, "EaseeLinkCommandResponse", _INTEGER, None),
    (14, "EaseeLinkDataReceived", _STRING, None),
    (15, "LocalPreAuthorizeEnabled", _BOOLEAN, None),
    (16, "LocalAuthorizeOfflineEnabled", _BOOLEAN, None),
    (17, "AllowOfflineTxForUnknownId", _BOOLEAN, None),
    (18, "ErraticEvMaxToggles", _INTEGER, "count"),
    (19, "BackplateType", _INTEGER, None),
    (20, "SiteStructure", _STRING, "json"),
    (21, "DetectedPowerGridType", _INTEGER, None),
    (22, "CircuitMaxCurrentP1", _DOUBLE, "A"),
    (23, "CircuitMaxCurrentP2", _DOUBLE, "A"),
    (24, "CircuitMaxCurrentP3", _DOUBLE, "A"),
    (25, "Location", _POSITION, "deg"),
    (26, "SiteIdString", _STRING, None),
    (27, "SiteIdNumeric", _INTEGER, None),
    (28, "RfidAuthTimeoutSec", _INTEGER, "s"),
    (30, "LockCablePermanently", _BOOLEAN, None),
    (31, "IsEnabled", _BOOLEAN, None),
    (32, "TemperatureMonitorState", _INTEGER, None),
    (33, "CircuitSequenceNumber", _INTEGER, None),
    (34, "SinglePhaseNumber", _INTEGER, None),
    (35, "Enable3PhasesDeprecated", _BOOLEAN, None),
    (36, "WiFiSsid", _STRING, None),
    (37, "EnableIdleCurrent", _BOOLEAN, None),
    (38, "PhaseMode", _INTEGER, None),
    (39, "ForcedThreePhaseOnItWithGndFault", _BOOLEAN, None),
    (40, "LedStripBrightness", _INTEGER, "%"),
    (41, "LocalAuthorizationRequired", _BOOLEAN, None),
    (42, "AuthorizationRequired", _BOOLEAN, None),
    (43, "RemoteStartRequired", _BOOLEAN, None),
    (44, "SmartButtonEnabled", _BOOLEAN, None),
    (45, "OfflineChargingMode", _INTEGER, None),
    (46, "LedMode", _INTEGER, None),
    (47, "MaxChargerCurrent", _DOUBLE, "A"),
    (48, "DynamicChargerCurrent", _DOUBLE, "A"),
    (50, "OfflineMaxCircuitCurrentP1", _INTEGER, "A"),
    (51, "OfflineMaxCircuitCurrentP2", _INTEGER, "A"),
    (52, "OfflineMaxCircuitCurrentP3", _INTEGER, "A"),
    (54, "ReleaseCableAtPowerOff", _STRING, None),
    (56, "ListenToControlPulse", _BOOLEAN, None),
    (57, "ControlPulseRtt", _INTEGER, "ms"),
    (60, "ChargingSessionSigned", _STRING, "json"),
    (62, "ChargingSchedule", _STRING, "json"),
    (65, "PairedEqualizer", _STRING, None),
    (68, "WiFiApEnabled", _BOOLEAN, None),
    (69, "PairedUserIdToken", _STRING, None),
    (70, "CircuitTotalAllocatedPhaseConductorCurrentL1", _DOUBLE, "A"),
    (71, "CircuitTotalAllocatedPhaseConductorCurrentL2", _DOUBLE, "A"),
    (72, "CircuitTotalAllocatedPhaseConductorCurrentL3", _DOUBLE, "A"),
    (73, "CircuitTotalPhaseConductorCurrentL1", _DOUBLE, "A"),
    (74, "CircuitTotalPhaseConductorCurrentL2", _DOUBLE, "A"),
    (75, "CircuitTotalPhaseConductorCurrentL3", _DOUBLE, "A"),
    (76, "NumberOfCarsConnected", _INTEGER, "count"),
    (77, "NumberOfCarsCharging", _INTEGER, "count"),
    (78, "NumberOfCarsInQueue", _INTEGER, "count"),
    (79, "NumberOfCarsFullyCharged", _INTEGER, "count"),
    (80, "SoftwareRelease", _INTEGER, None),
    (81, "Iccid", _STRING, None),
    (82, "ModemFwId", _STRING, None),
    (83, "OtaErrorCode", _INTEGER, None),
    (84, "MobileNetworkOperator", _STRING, None),
    (89, "RebootReason", _INTEGER, None),
    (90, "PowerPcbVersion", _INTEGER, None),
    (91, "ComPcbVersion", _INTEGER, None),
    (96, "ReasonForNoCurrent", _INTEGER, None),
    (97, "LoadBalancingNumberOfConnectedChargers", _INTEGER, "count"),
    (98, "UdpNumOfConnectedNodes", _INTEGER, "count"),
    (99, "LocalConnection", _INTEGER, None),
    (100, "PilotMode", _STRING, None),
    (101, "CarConnectedDeprecated", _BOOLEAN, None),
    (102, "SmartCharging", _BOOLEAN, None),
    (103, "CableLocked", _BOOLEAN, None),
    (104, "CableRating", _DOUBLE, "A"),
    (105, "PilotHigh", _INTEGER, "V"),
    (106, "PilotLow", _INTEGER, "V"),
    (107, "BackPlateId", _STRING, None),
    (108, "UserIdTokenReversed", _STRING, None),
    (109, "ChargerOpMode", _INTEGER, None),
    (110, "OutputPhase", _INTEGER, None),
    (111, "DynamicCircuitCurrentP1", _DOUBLE, "A"),
    (112, "DynamicCircuitCurrentP2", _DOUBLE, "A"),
    (113, "DynamicCircuitCurrentP3", _DOUBLE, "A"),
    (114, "OutputCurrent", _DOUBLE, "A"),
    (115, "DeratedCurrent", _DOUBLE, "A"),
    (116, "DeratingActive", _BOOLEAN, None),
    (117, "DebugString", _STRING, None),
    (118, "ErrorString", _STRING, None),
    (119, "ErrorCode", _INTEGER, None),
    (120, "TotalPower", _DOUBLE, "kW"),
    (121, "SessionEnergy", _DOUBLE, "kWh"),
    (122, "EnergyPerHour", _DOUBLE, "kWh"),
    (123, "LegacyEvStatus", _INTEGER, None),
    (124, "LifetimeEnergy", _DOUBLE, "kWh"),
    (125, "LifetimeRelaySwitches", _INTEGER, "count"),
    (126, "LifetimeHours", _INTEGER, "h"),
    (127, "DynamicCurrentOfflineFallbackDeprecated", _INTEGER, "A"),
    (128, "UserIdToken", _STRING, None),
    (129, "ChargingSession", _STRING, "json"),
    (130, "CellRssi", _INTEGER, "dBm"),
    (131, "CellRat", _INTEGER, None),
    (132, "WiFiRssi", _INTEGER, "dBm"),
    (133, "CellAddress", _STRING, None),
    (134, "WiFiAddress", _STRING, None),
    (135, "WiFiType", _STRING, None),
    (136, "LocalRssi", _INTEGER, "dBm"),
    (137, "MasterBackPlateId", _STRING, None),
    (138, "LocalTxPower", _INTEGER, "dBm"),
    (139, "LocalState", _STRING, None),
    (140, "FoundWiFi", _STRING, "json"),
    (141, "CurrentConnection", _INTEGER, None),
    (142, "CellularInterfaceErrorCount", _INTEGER, "count"),
    (143, "CellularInterfaceResetCount", _INTEGER, "count"),
    (144, "WifiInterfaceErrorCount", _INTEGER, "count"),
    (145, "WifiInterfaceResetCount", _INTEGER, "count"),
    (146, "LocalNodeType", _INTEGER, None),
    (147, "LocalRadioChannel", _INTEGER, None),
    (148, "LocalShortAddress", _INTEGER, None),
    (149, "LocalParentAddrOrNumOfNodes", _INTEGER, None),
    (150, "TempMax", _DOUBLE, "degC"),
    (151, "TempAmbientPowerBoard", _DOUBLE, "degC"),
    (152, "TempInputT2", _DOUBLE, "degC"),
    (153, "TempInputT3", _DOUBLE, "degC"),
    (154, "TempInputT4", _DOUBLE, "degC"),
    (155, "TempInputT5", _DOUBLE, "degC"),
    (156, "", None, None),
    (157, "", None, None),
    (160, "TempOutputN", _DOUBLE, "degC"),
    (161, "TempOutputL1", _DOUBLE, "degC"),
    (162, "TempOutputL2", _DOUBLE, "degC"),
    (163, "TempOutputL3", _DOUBLE, "degC"),
    (164, "TempRelayN", _INTEGER, "degC"),
    (165, "TempRelayL", _INTEGER, "degC"),
    (166, "TempAmbientPowerBoardTop", _INTEGER, "degC"),
    (170, "TempAmbient", _DOUBLE, "degC"),
    (171, "LightAmbient", _INTEGER, "%"),
    (172, "IntRelHumidity", _INTEGER, "%"),
    (173, "BackPlateLocked", _BOOLEAN, None),
    (174, "CurrentMotor", _DOUBLE, "A"),
    (175, "BackPlateHallSensor", _INTEGER, "mV"),
    (182, "InCurrentT2", _DOUBLE, "A"),
    (183, "InCurrentT3", _DOUBLE, "A"),
    (184, "InCurrentT4", _DOUBLE, "A"),
    (185, "InCurrentT5", _DOUBLE, "A"),
    (190, "InVoltageT1T2", _DOUBLE, "V"),
    (191, "InVoltageT1T3", _DOUBLE, "V"),
    (192, "InVoltageT1T4", _DOUBLE, "V"),
    (193, "InVoltageT1T5", _DOUBLE, "V"),
    (194, "InVoltageT2T3", _DOUBLE, "V"),
    (195, "InVoltageT2T4", _DOUBLE, "V"),
    (196, "InVoltageT2T5", _DOUBLE, "V"),
    (197, "InVoltageT3T4", _DOUBLE, "V"),
    (198, "InVoltageT3T5", _DOUBLE, "V"),
    (199, "InVoltageT4T5", _DOUBLE, "V"),
    (200, "NominalVoltage", _INTEGER, "V"),
    (202, "OutVoltPin1And2", _DOUBLE, "V"),
    (203, "OutVoltPin1And3", _DOUBLE, "V"),
    (204, "OutVoltPin1And4", _DOUBLE, "V"),
    (205, "OutVoltPin1And5", _DOUBLE, "V"),
    (206, "OutVoltPin2And3", _DOUBLE, "V"),
    (210, "VoltLevel33", _DOUBLE, "V"),
    (211, "VoltLevel5", _DOUBLE, "V"),
    (212, "VoltLevel12", _DOUBLE, "V"),
    (219, "FatalErrorCode", _INTEGER, None),
    (220, "LteRsrp", _INTEGER, "dBm"),
    (221, "LteSinr", _INTEGER, "dB"),
    (222, "LteRsrq", _INTEGER, "dB"),
    (223, "ChargingSessionStart", _STRING, "json"),
    (230, "EqAvailableCurrentP1", _DOUBLE, "A"),
    (231, "EqAvailableCurrentP2", _DOUBLE, "A"),
    (232, "EqAvailableCurrentP3", _DOUBLE, "A"),
    (233, "", None, None),
    (234, "", None, None),
    (240, "DiagnosticsString", _STRING, None),
    (241, "WiFiMacAddress", None, None),
    (250, "ConnectedToCloud", _BOOLEAN, None),
    (251, "CloudDisconnectReason", _STRING, None),
)

_EQUALIZER_ROWS: Final[tuple[tuple[int, str, DataType | None, str | None], ...]] = (
    (1, "selfTestResult", _STRING, None),
    (2, "selfTestDetails", _STRING, None),
    (13, "easeeLinkCommandResponse", _INTEGER, None),
    (14, "easeeLinkDataReceived", _STRING, None),
    (19, "siteIDNumeric", _INTEGER, None),
    (20, "siteStructure", _STRING, None),
    (21, "softwareRelease", _INTEGER, None),
    (23, "deviceMode", _INTEGER, None),
    (25, "meterType", _STRING, None),
    (26, "meterID", _STRING, None),
    (27, "OBISListIdentifier", _STRING, None),
    (29, "gridType", _INTEGER, None),
    (30, "numPhases", _INTEGER, None),
    (31, "currentL1", _DOUBLE, "A"),
    (32, "currentL2", _DOUBLE, "A"),
    (33, "currentL3", _DOUBLE, "A"),
    (34, "voltageNL1", _DOUBLE, "V"),
    (35, "voltageNL2", _DOUBLE, "V"),
    (36, "voltageNL3", _DOUBLE, "V"),
    (37, "voltageL1L2", _DOUBLE, "V"),
    (38, "voltageL1L3", _DOUBLE, "V"),
    (39, "voltageL2L3", _DOUBLE, "V"),
    (40, "activePowerImport", _DOUBLE, "kW"),
    (41, "activePowerExport", _DOUBLE, "kW"),
    (42, "reactivePowerImport", _DOUBLE, "kvar"),
    (43, "reactivePowerExport", _DOUBLE, "kvar"),
    (44, "maxPowerImport", _DOUBLE, None),
    (45, "cumulativeActivePowerImport", _DOUBLE, "kWh"),
    (46, "cumulativeActivePowerExport", _DOUBLE, "kWh"),
    (47, "cumulativeReactivePowerImport", _DOUBLE, "kvarh"),
    (48, "cumulativeReactivePowerExport", _DOUBLE, "kvarh"),
    (49, "clockAndDateMeter", _STRING, None),
    (50, "rcpi", _DOUBLE, "dBm"),
    (51, "ssid", _STRING, None),
    (55, "masterBackPlateID", _STRING, None),
    (56, "equalizerID", _STRING, None),
    (57, "childReport", _STRING, None),
    (58, "connectivityReport", _STRING, None),
    (60, "exceptionData", _STRING, None),
    (61, "bootReason", _STRING, None),
    (64, "highCurrentTransitions", _INTEGER, None),
    (65, "vCap", _DOUBLE, "V"),
    (66, "vBusMin", _DOUBLE, "V"),
    (67, "vbusMax", _DOUBLE, "V"),
    (68, "internalTemperature", _DOUBLE, None),
    (69, "meterDataSnapshot", _STRING, None),
    (70, "localRSSI", _INTEGER, "dBm"),
    (71, "localTxPower", _INTEGER, "dBm"),
    (72, "localRadioChannel", _INTEGER, None),
    (73, "localShortAddress", _INTEGER, None),
    (74, "localNodeType", _INTEGER, None),
    (75, "localParentAddress", _INTEGER, None),
    (80, "circuitPhaseMapping", _STRING, None),
    (81, "phaseMappingReport", _STRING, None),
    (82, "phaseLearningStatus", _STRING, None),
    (85, "modbusConfiguration", _STRING, None),
    (86, "loadbalanceThrottle", _INTEGER, None),
    (87, "availableCurrentL1", _DOUBLE, "A"),
    (88, "availableCurrentL2", _DOUBLE, "A"),
    (89, "availableCurrentL3", _DOUBLE, "A"),
    (90, "meterErrors", _INTEGER, None),
    (91, "APMacAddress", _STRING, None),
    (92, "wifiReconnects", _INTEGER, None),
    (100, "ledMode", _INTEGER, None),
    (105, "equalizedChargeCurrentL1", _DOUBLE, "A"),
    (106, "equalizedChargeCurrentL2", _DOUBLE, "A"),
    (107, "equalizedChargeCurrentL3", _DOUBLE, "A"),
    (110, "currentTransformerConfig", _STRING, None),
    (111, "meterEncryptionStatus", _STRING, None),
    (115, "surplusCharging", _STRING, None),
    (120, "connectedAmps", None, None),
    (250, "connectedToCloud", _BOOLEAN, None),
    (251, "cloudDisconnectReason", _STRING, None),
)


def _by_id(
    rows: tuple[tuple[int, str, DataType | None, str | None], ...],
) -> Mapping[int, PublishedObservation]:
    return MappingProxyType({row[0]: PublishedObservation(*row) for row in rows})


CHARGER_OBSERVATIONS: Final = _by_id(_CHARGER_ROWS)
EQUALIZER_OBSERVATIONS: Final = _by_id(_EQUALIZER_ROWS)
