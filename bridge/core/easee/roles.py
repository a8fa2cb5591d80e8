"""Observations that the program's rules depend on, by their role.

Rules:

1. Every other module names an observation by its role or by its name in the registry, and writes no
   id; a test reads their source for it.
2. An observation has a role only where a rule needs it. All others are rows of the registry and
   nothing else.
"""

from typing import Final

# Who may charge.
LOCAL_PRE_AUTHORIZE: Final = 15
OFFLINE_WHITELIST: Final = 16
OFFLINE_ALLOW_ALL: Final = 17
AUTHORIZATION_REQUIRED: Final = 42
OFFLINE_CHARGING_MODE: Final = 45

# What the charger does and shows.
REBOOT_REASON: Final = 89
ENABLED: Final = 31
LED_MODE: Final = 46
NO_CURRENT_REASON: Final = 96
SMART_CHARGING: Final = 102
OP_MODE: Final = 109

# The limits that commands, load balancers and the vendor's cloud move.
DYNAMIC_LIMIT: Final = 48
# The other limits: of the charger, and of its circuit by phase.
CHARGER_LIMIT: Final = 47
CIRCUIT_LIMIT_P1: Final = 22
CIRCUIT_LIMIT_P2: Final = 23
CIRCUIT_LIMIT_P3: Final = 24
DYNAMIC_CIRCUIT_LIMIT_P1: Final = 111
DYNAMIC_CIRCUIT_LIMIT_P2: Final = 112
DYNAMIC_CIRCUIT_LIMIT_P3: Final = 113

# How many phases a charge may use, and uses.
PHASE_MODE: Final = 38
OUTPUT_PHASE: Final = 110

# Sessions: a start, the running energy and the finished session.
SESSION_ENERGY: Final = 121
SESSION_REPORT: Final = 129
SESSION_START: Final = 223

# The meter, and what is measured between its readings.
POWER: Final = 120
METER_READING: Final = 124

# The wiring, and what is measured at the terminals.
GRID_TYPE: Final = 21
CURRENT_T2: Final = 182
CURRENT_T3: Final = 183
CURRENT_T4: Final = 184
CURRENT_T5: Final = 185
VOLTAGE_T2_T3: Final = 194
VOLTAGE_T2_T4: Final = 195
VOLTAGE_T2_T5: Final = 196
VOLTAGE_T3_T4: Final = 197

FIRMWARE: Final = 80

# The schedule stored in the charger: it moves when the cloud's schedules do.
CHARGING_SCHEDULE: Final = 62

# What the cloud says about the charger; neither is a sign of life.
CLOUD_LINK: Final = 250
CLOUD_LINK_REASON: Final = 251
