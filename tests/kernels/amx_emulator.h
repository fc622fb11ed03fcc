/* amx_emulator.h - runs the machine code of the AMX tier on a CPU that has no AMX.
 *
 * Such a CPU stops at each AMX instruction with SIGILL. The handler decodes it, carries it out on a
 * model of the tile registers, by the letter of Intel's manual (SDM volume 2), and goes on behind
 * it. It knows those instructions that kernels use: LDTILECFG, TILERELEASE, TILEZERO, TILELOADD,
 * TILELOADDT1, TILESTORED and TDPBUSD. Whatever else stops the CPU, and whatever the manual answers
 * with #UD or #GP, ends the process by abort(), after a line with the reason and the bytes.
 *
 * Reads and writes of tiles are ordinary ones here, so that AddressSanitizer sees them, which it
 * does not on a CPU that has AMX. What the model cannot show: speed, and the operating system's
 * part (permission, switches between threads).
 */
#ifndef OMEN_TESTS_KERNELS_AMX_EMULATOR_H
#define OMEN_TESTS_KERNELS_AMX_EMULATOR_H

#include <stdbool.h>

/* The tiers that this process can run thanks to the emulator: OMEN_ISA_amx on an x86 with VNNI and
 * without AMX, where the call installs the handler; 0 elsewhere. Each test that runs such code
 * calls it or amx_runs() first. Each thread has tiles of its own. */
unsigned amx_emulated_isas(void);

/* True if this process can run AMX instructions; if by the emulator, its handler is in place. */
bool amx_runs(void);

#endif
