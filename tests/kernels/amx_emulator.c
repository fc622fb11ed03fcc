/* amx_emulator.c - see amx_emulator.h.
 *
 * Happy path: on_illegal_instruction(), decode(), execute(). Names and conditions are those of the
 * manual. It is stricter than a CPU in one respect: bits of an encoding that a CPU ignores must be
 * as an assembler sets them. The signals are synchronous, raised by an instruction of the thread
 * itself and never from inside the C library, so the handler may print.
 */
#include "amx_emulator.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"

#define MAX_NAMES     8u /* palette 1 */
#define MAX_ROWS      16u
#define BYTES_PER_ROW 64u
#define CONFIG_BYTES  64u

/* ---- the model ----------------------------------------------------------------------------- */

struct tile {
    unsigned rows;
    unsigned colsb; /* 0 and 0: not valid */
    uint8_t row[MAX_ROWS][BYTES_PER_ROW];
};

static _Thread_local struct amx {
    bool configured; /* TILES_CONFIGURED */
    unsigned start_row;
    struct tile tiles[MAX_NAMES];
} amx;

/* ---- instructions -------------------------------------------------------------------------- */

enum operation { LDTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBUSD };

/* VEX.128.pp.0F38.W0 opcode; `memory`: ModRM is of the form !(11); reg and rm are -1 if any. */
static const struct form {
    uint8_t opcode;
    uint8_t pp;
    bool memory;
    int reg;
    int rm;
    bool vvvv; /* names a register; 1111 otherwise */
    enum operation operation;
} forms[] = {
    {0x49, 0, true, 0, -1, false, LDTILECFG},  {0x49, 0, false, 0, 0, false, TILERELEASE},
    {0x49, 3, false, -1, 0, false, TILEZERO},  {0x4b, 3, true, -1, 4, false, TILELOADD},
    {0x4b, 1, true, -1, 4, false, TILELOADD}, /* T1 */
    {0x4b, 2, true, -1, 4, false, TILESTORED}, {0x5e, 1, false, -1, -1, true, TDPBUSD},
};

struct instruction {
    const uint8_t *bytes;
    size_t length;
    enum operation operation;
    unsigned reg, rm, vvvv; /* with their extensions */
    uint64_t base;          /* base and displacement */
    uint64_t stride;        /* index << scale */
};

static void refuse(const struct instruction *i, const char *why)
{
    (void)fprintf(stderr, "AMX emulator: %s:", why);
    for (size_t at = 0; at < i->length; at++)
        (void)fprintf(stderr, " %02x", i->bytes[at]);
    (void)fprintf(stderr, "\n");
    abort();
}

static void require(bool holds, const struct instruction *i, const char *why)
{
    if (!holds) refuse(i, why);
}

static uint8_t next_byte(struct instruction *i)
{
    return i->bytes[i->length++];
}

static uint64_t next_displacement(struct instruction *i, size_t size)
{
    int32_t four = 0;

    if (size == 0) return 0;
    if (size == 1) return (uint64_t)(int8_t)next_byte(i);
    memcpy(&four, i->bytes + i->length, sizeof four);
    i->length += sizeof four;
    return (uint64_t)four;
}

static uint64_t register_value(const ucontext_t *context, unsigned number)
{
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

/* The rest of the instruction, from SIB on. `x` and `b` are VEX.X and VEX.B, not inverted. */
static void decode_memory(struct instruction *i, const ucontext_t *context, unsigned mod,
                          unsigned x, unsigned b)
{
    size_t displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;

    if ((i->rm & 7) == 4) {
        const unsigned sib = next_byte(i), index = (sib >> 3 & 7) | x << 3;
        const bool no_base = (sib & 7) == 5 && mod == 0;

        if (index != 4) i->stride = register_value(context, index) << (sib >> 6);
        if (no_base)
            displacement = 4;
        else
            i->base = register_value(context, (sib & 7) | b << 3);
        i->base += next_displacement(i, displacement);
    } else if ((i->rm & 7) == 5 && mod == 0) { /* relative to what follows */
        require(x == 0, i, "VEX.X without SIB");
        i->base = next_displacement(i, 4);
        i->base += (uint64_t)(uintptr_t)(i->bytes + i->length);
    } else {
        require(x == 0, i, "VEX.X without SIB");
        i->base = register_value(context, i->rm);
        i->base += next_displacement(i, displacement);
    }
}

static const struct form *find_form(const struct instruction *i, uint8_t opcode, unsigned pp,
                                    unsigned mod)
{
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        const struct form *form = &forms[f];
        if (form->opcode == opcode && form->pp == pp && form->memory == (mod != 3) &&
            (form->reg < 0 || (unsigned)form->reg == i->reg) &&
            (form->rm < 0 || (unsigned)form->rm == (form->memory ? i->rm & 7 : i->rm)))
            return form;
    }
    return NULL;
}

static struct instruction decode(const ucontext_t *context)
{
    struct instruction i = {.bytes = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP]};

    require(next_byte(&i) == 0xc4, &i, "no VEX prefix of three bytes");
    const unsigned first = next_byte(&i), second = next_byte(&i);
    const unsigned r = ~first >> 7 & 1, x = ~first >> 6 & 1, b = ~first >> 5 & 1;
    const uint8_t opcode = next_byte(&i);
    const unsigned modrm = next_byte(&i), mod = modrm >> 6;

    i.reg = (modrm >> 3 & 7) | r << 3;
    i.rm = (modrm & 7) | b << 3;
    i.vvvv = ~second >> 3 & 15;
    require((first & 0x1f) == 2, &i, "not of the map 0F38");
    require((second & 0x80) == 0, &i, "#UD, VEX.W");
    require((second & 0x04) == 0, &i, "#UD, VEX.L");
    const struct form *form = find_form(&i, opcode, second & 3, mod);
    require(form != NULL, &i, "not an instruction of the model");
    require(form->vvvv || i.vvvv == 0, &i, "#UD, VEX.vvvv");
    i.operation = form->operation;
    if (form->memory)
        decode_memory(&i, context, mod, x, b);
    else
        require(x == 0, &i, "VEX.X without SIB");
    return i;
}

/* ---- what they do -------------------------------------------------------------------------- */

static bool nonzero(const uint8_t *bytes, size_t count)
{
    for (size_t at = 0; at < count; at++)
        if (bytes[at] != 0) return true;
    return false;
}

static void ldtilecfg(const struct instruction *i)
{
    const uint8_t *memory = (const uint8_t *)(uintptr_t)(i->base + i->stride);
    struct amx new = {.configured = true};
    uint8_t buf[CONFIG_BYTES];

    memcpy(buf, memory, sizeof buf);
    require(buf[0] <= 1, i, "#GP, palette");
    if (buf[0] == 0) {
        memset(&amx, 0, sizeof amx);
        return;
    }
    new.start_row = buf[1];
    require(!nonzero(buf + 2, 14), i, "#GP, reserved bytes 2 to 15");
    for (size_t t = 0; t < MAX_NAMES; t++) {
        new.tiles[t].colsb = buf[16 + 2 * t] | (unsigned)buf[17 + 2 * t] << 8;
        new.tiles[t].rows = buf[48 + t];
        require(new.tiles[t].colsb <= BYTES_PER_ROW, i, "#GP, colsb");
        require(new.tiles[t].rows <= MAX_ROWS, i, "#GP, rows");
        require((new.tiles[t].rows == 0) == (new.tiles[t].colsb == 0), i,
                "#GP, rows without colsb or the reverse");
    }
    require(!nonzero(buf + 32, 16), i, "#GP, colsb of a tile beyond the palette");
    require(!nonzero(buf + 56, 8), i, "#GP, rows of a tile beyond the palette");
    amx = new; /* with all tiles zero */
}

/* The tile of that number, which must be one that is configured. */
static struct tile *valid_tile(const struct instruction *i, unsigned number)
{
    require(amx.configured, i, "#UD, no configuration");
    require(number < MAX_NAMES, i, "#UD, no such tile");
    require(amx.tiles[number].rows != 0, i, "#UD, a tile that is not configured");
    return &amx.tiles[number];
}

static struct tile *tile_for_memory(const struct instruction *i)
{
    struct tile *tile = valid_tile(i, i->reg);

    require(tile->colsb % 4 == 0, i, "#UD, colsb is no multiple of 4");
    require(amx.start_row < tile->rows, i, "#UD, start_row");
    return tile;
}

static void tileloadd(const struct instruction *i)
{
    struct tile *tile = tile_for_memory(i);

    for (size_t row = amx.start_row; row < MAX_ROWS; row++)
        memset(tile->row[row], 0, BYTES_PER_ROW);
    for (size_t row = amx.start_row; row < tile->rows; row++)
        memcpy(tile->row[row], (const uint8_t *)(uintptr_t)(i->base + row * i->stride),
               tile->colsb);
    amx.start_row = 0;
}

static void tilestored(const struct instruction *i)
{
    const struct tile *tile = tile_for_memory(i);

    for (size_t row = amx.start_row; row < tile->rows; row++)
        memcpy((uint8_t *)(uintptr_t)(i->base + row * i->stride), tile->row[row], tile->colsb);
    amx.start_row = 0;
}

static void tilezero(const struct instruction *i)
{
    struct tile *tile = valid_tile(i, i->reg);

    memset(tile->row, 0, sizeof tile->row);
    amx.start_row = 0;
}

/* One row of sums. Unsigned: sums wrap. */
static void multiply_row(uint32_t sums[16], const struct tile *a, size_t m, const struct tile *b)
{
    int8_t members[BYTES_PER_ROW];

    for (size_t k = 0; k < a->colsb / 4; k++) {
        const uint8_t *point = a->row[m] + 4 * k;
        memcpy(members, b->row[k], sizeof members);
        for (size_t n = 0; n < 16; n++)
            sums[n] += (uint32_t)(point[0] * members[4 * n] + point[1] * members[4 * n + 1] +
                                  point[2] * members[4 * n + 2] + point[3] * members[4 * n + 3]);
    }
}

static void tdpbusd(const struct instruction *i)
{
    struct tile *dest = valid_tile(i, i->reg);
    const struct tile *a = valid_tile(i, i->rm), *b = valid_tile(i, i->vvvv);

    require(dest != a && dest != b && a != b, i, "#UD, a tile twice");
    require(dest->colsb % 4 == 0 && a->colsb % 4 == 0 && b->colsb % 4 == 0, i,
            "#UD, colsb is no multiple of 4");
    require(dest->colsb == b->colsb, i, "#UD, columns of sums and members");
    require(dest->rows == a->rows, i, "#UD, rows of sums and points");
    require(a->colsb / 4 == b->rows, i, "#UD, words of points and members");
    for (size_t m = 0; m < dest->rows; m++) {
        uint32_t sums[16];
        memcpy(sums, dest->row[m], sizeof sums);
        multiply_row(sums, a, m, b);
        memcpy(dest->row[m], sums, dest->colsb);
        memset(dest->row[m] + dest->colsb, 0, BYTES_PER_ROW - dest->colsb);
    }
    for (size_t m = dest->rows; m < MAX_ROWS; m++)
        memset(dest->row[m], 0, BYTES_PER_ROW);
    amx.start_row = 0;
}

static void execute(const struct instruction *i)
{
    switch (i->operation) {
    case LDTILECFG:
        ldtilecfg(i);
        return;
    case TILERELEASE:
        memset(&amx, 0, sizeof amx);
        return;
    case TILEZERO:
        tilezero(i);
        return;
    case TILELOADD:
        tileloadd(i);
        return;
    case TILESTORED:
        tilestored(i);
        return;
    case TDPBUSD:
        tdpbusd(i);
        return;
    }
}

static void on_illegal_instruction(int signal, siginfo_t *about, void *data)
{
    ucontext_t *context = data;

    (void)signal;
    (void)about;
    const struct instruction i = decode(context);
    execute(&i);
    context->uc_mcontext.gregs[REG_RIP] += (greg_t)i.length;
}

/* Anew in each call, because cmocka puts a handler of its own in place before each test. */
unsigned amx_emulated_isas(void)
{
    const unsigned isas = omen_cpu_isas();
    struct sigaction action = {.sa_sigaction = on_illegal_instruction, .sa_flags = SA_SIGINFO};

    if ((isas & OMEN_ISA_amx) != 0 || (isas & OMEN_ISA_vnni) == 0) return 0;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGILL, &action, NULL) != 0) fail_msg("no handler for SIGILL");
    return OMEN_ISA_amx;
}

bool amx_runs(void)
{
    return ((omen_cpu_isas() | amx_emulated_isas()) & OMEN_ISA_amx) != 0;
}
