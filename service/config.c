/* config.c - see config.h. One table of settings; names, help, limits and defaults derive from it.
 *
 * The file is read first, then the environment, then the flags, and each overwrites. A bad value is
 * an error even where a later one would have overwritten it: it would bite on the next start.
 */
#include "service/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "kernels/kernels.h"
#include "service/memory_limit.h"

#define ENVIRONMENT_PREFIX "OMENDB_"
#define NAME_BYTES         64u
#define OFF                "off" /* instead of a number */

enum kind { TEXT, NUMBER, NUMBER_OR_OFF, TIER, MEMORY, CPUS };

struct setting {
    const char *key; /* as in a file */
    enum kind kind;
    size_t offset; /* of its field in struct omen_config */
    uint32_t min;
    uint32_t max;
    const char *fallback;
    const char *help;
};

#define AT(field) offsetof(struct omen_config, field)

static const struct setting settings[] = {
    {"data_dir", TEXT, AT(data_dir), 0, 0, "", "where the collections are; made if missing"},
    {"grpc_host", TEXT, AT(grpc_host), 0, 0, "127.0.0.1",
     "address to listen on; there is no authentication yet, so think before you open it"},
    {"grpc_port", NUMBER, AT(grpc_port), 0, 65535, "7420",
     "port to listen on; 0 takes a free one, which the log names"},
    {"http_host", TEXT, AT(http_host), 0, 0, "127.0.0.1",
     "address of the HTTP port: probes, metrics, JSON; no authentication there either"},
    {"http_port", NUMBER_OR_OFF, AT(http_port), 0, 65535, "7421",
     "port of probes, metrics and JSON; 0 takes a free one, off opens none"},
    {"ingest_threads", NUMBER, AT(ingest_threads), 0, OMEN_THREADS_MAX, "0",
     "threads that build graphs; 0: one for each CPU, or each of ingest_cpus"},
    {"search_threads", NUMBER, AT(search_threads), 0, OMEN_THREADS_MAX, "0",
     "threads that search; 0: one for each CPU, or each of search_cpus"},
    {"ingest_cpus", CPUS, AT(ingest_cpus), 0, 0, "",
     "CPUs for what builds graphs, writes files and calibrates, as 0-3,8; empty: all"},
    {"search_cpus", CPUS, AT(search_cpus), 0, 0, "",
     "CPUs for all the rest: searches, gRPC, HTTP; empty: all"},
    {"shards", NUMBER, AT(shards), 0, OMEN_SHARDS_MAX, "0",
     "parts of a graph; 0: four for each ingest thread; never changes the graph"},
    {"simd", TIER, AT(simd), 0, 0, "", "highest kernel tier to use; empty: the CPU's highest"},
    {"calibrate_seconds", NUMBER, AT(calibrate_seconds), 0, OMEN_CALIBRATE_SECONDS_MAX, "60",
     "between two calibrations of a collection's ef to its target recall; 0: only on request"},
    {"calibrate_percent", NUMBER, AT(calibrate_percent), 1, 100, "10",
     "of one core that calibrations may take"},
    {"scrub_mib_per_second", NUMBER, AT(scrub_mib_per_second), 0, OMEN_SCRUB_MIB_MAX, "16",
     "of stored vectors that are compared with their hashes, once a day; 0: only what is read"},
    {"drain_seconds", NUMBER, AT(drain_seconds), 0, 3600, "10",
     "how long calls may take to end after SIGTERM"},
    {"checkpoint_seconds", NUMBER_OR_OFF, AT(checkpoint_seconds), 1, 86400, "3",
     "of replaying a log at the next start, beyond which a checkpoint is written; off writes none, "
     "at the end neither"},
    {"max_connection_age_seconds", NUMBER, AT(max_connection_age_seconds), 0, 86400, "600",
     "after which connections are asked to go, 10 % more or less; 0: never"},
    {"max_connection_age_grace_seconds", NUMBER, AT(max_connection_age_grace_seconds), 1, 86400,
     "120", "how long the calls of such a connection may go on"},
    {"max_connection_idle_seconds", NUMBER, AT(max_connection_idle_seconds), 0, 86400, "900",
     "after which connections without calls are closed; 0: never"},
    {"keepalive_seconds", NUMBER, AT(keepalive_seconds), 1, 86400, "60",
     "of silence, after which a client is pinged"},
    {"keepalive_timeout_seconds", NUMBER, AT(keepalive_timeout_seconds), 1, 3600, "20",
     "for the answer to such a ping, before the connection is closed"},
    {"client_ping_seconds_min", NUMBER, AT(client_ping_seconds_min), 0, 3600, "10",
     "between two pings of a client; one that pings more often is sent away"},
    {"max_streams_per_connection", NUMBER, AT(max_streams_per_connection), 1, 100000, "100",
     "calls that are open on one connection; further ones wait in the client"},
    {"stream_max_age_seconds", NUMBER, AT(stream_max_age_seconds), 0, 86400, "480",
     "after which an insert stream is asked to open again; 0: never, but always before its "
     "connection's age"},
    {"heartbeat_seconds", NUMBER, AT(heartbeat_seconds), 1, 3600, "15",
     "of silence on an insert stream, after which it gets an Ack"},
    {"search_seconds_max", NUMBER, AT(search_seconds_max), 1, 3600, "60",
     "that a search may take, waiting for min_read included, if its deadline is not earlier"},
    {"memory_limit", MEMORY, AT(memory_limit), 0, 0, "80%",
     "that the process may take, as 4GiB, 512MiB, bytes, or a share of what its cgroup or the "
     "machine "
     "has; beyond, points are refused"},
    {"disk_reserve_mib", NUMBER, AT(disk_reserve_mib), 0, 1048576, "256",
     "of the disk that writes leave free; beyond, they are refused until there is room again"},
    {"ingest_memory_mib", NUMBER, AT(ingest_memory_mib), 1, 1048576, "48",
     "of points that were taken and are not durable, over all collections; beyond, clients are "
     "not read"},
    {"request_memory_mib", NUMBER, AT(request_memory_mib), 32, 1048576, "256",
     "of requests and answers that are worked on; beyond, calls are refused"},
    {"grpc_memory_mib", NUMBER, AT(grpc_memory_mib), 64, 1048576, "256",
     "of gRPC's own buffers, over all connections"},
};
#define SETTING_COUNT (sizeof settings / sizeof *settings)

_Static_assert(SETTING_COUNT <= OMEN_CONFIG_SETTINGS_MAX, "room for every origin");

static omen_code set_value(struct omen_config *config, const struct setting *setting,
                           const char *value, const char *origin, omen_error *err);
static omen_code read_environment(struct omen_config *config, omen_error *err);
static omen_code read_flags(int argc, char **argv, struct omen_config *config, const char **file,
                            omen_error *err);

/* "grpc_port" as --grpc-port or OMENDB_GRPC_PORT. */
static void spell(const char *key, const char *prefix, char out[NAME_BYTES])
{
    bool flag = prefix[0] == '-';
    size_t at = (size_t)snprintf(out, NAME_BYTES, "%s%s", prefix, key);

    for (size_t i = strlen(prefix); i < at && i < NAME_BYTES; i++)
        out[i] = flag && out[i] == '_' ? '-' : (char)(flag ? out[i] : toupper(out[i]));
}

static char *text_of(struct omen_config *config, const struct setting *setting)
{
    return (char *)config + setting->offset;
}

static uint32_t *number_of(struct omen_config *config, const struct setting *setting)
{
    return (uint32_t *)(void *)((char *)config + setting->offset);
}

omen_code omen_config_load(int argc, char **argv, struct omen_config *out, omen_error *err)
{
    struct omen_config ignored;
    const char *file = getenv(ENVIRONMENT_PREFIX "CONFIG");

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        omen_code code = set_value(out, &settings[i], settings[i].fallback, "default", err);
        if (code != OMEN_OK) return code;
    }
    ignored = *out; /* the first walk over the flags is for --config and the actions alone */
    omen_code code = read_flags(argc, argv, &ignored, &file, err);
    if (code == OMEN_OK &&
        (ignored.action == OMEN_CONFIG_SHOW_HELP || ignored.action == OMEN_CONFIG_SHOW_VERSION)) {
        out->action = ignored.action;
        return OMEN_OK;
    }
    if (code == OMEN_OK && file != NULL && file[0] != '\0')
        code = omen_config_file_read(file, out, err);
    if (code == OMEN_OK) code = read_environment(out, err);
    if (code == OMEN_OK) code = read_flags(argc, argv, out, &file, err);
    if (code == OMEN_OK && out->action == OMEN_CONFIG_RUN && out->data_dir[0] == '\0')
        code = omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "data_dir is not set: say where the collections are, with --data-dir "
                         "DIR, " ENVIRONMENT_PREFIX "DATA_DIR or data_dir in the --config file");
    return code;
}

omen_code omen_config_set(struct omen_config *config, const char *key, const char *value,
                          const char *origin, omen_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings[i].key, key) == 0)
            return set_value(config, &settings[i], value, origin, err);
    return omen_fail(err, OMEN_INVALID_ARGUMENT,
                     "unknown setting \"%.64s\" (from %s); --help lists them", key, origin);
}

static bool is_number(const struct setting *setting)
{
    return setting->kind == NUMBER || setting->kind == NUMBER_OR_OFF;
}

static omen_code set_number(struct omen_config *config, const struct setting *setting,
                            const char *value, const char *origin, omen_error *err)
{
    char *end = NULL;
    unsigned long long number = 0;

    if (setting->kind == NUMBER_OR_OFF && strcmp(value, OFF) == 0) {
        *number_of(config, setting) = OMEN_CONFIG_OFF;
        return OMEN_OK;
    }
    errno = 0;
    if (isdigit((unsigned char)value[0])) number = strtoull(value, &end, 10);
    if (end == NULL || *end != '\0' || errno != 0 || number < setting->min || number > setting->max)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "%s is \"%.64s\" (from %s), it must be a number from %" PRIu32
                         " to %" PRIu32 "%s",
                         setting->key, value, origin, setting->min, setting->max,
                         setting->kind == NUMBER_OR_OFF ? " or " OFF : "");
    *number_of(config, setting) = (uint32_t)number;
    return OMEN_OK;
}

static omen_code set_value(struct omen_config *config, const struct setting *setting,
                           const char *value, const char *origin, omen_error *err)
{
    struct omen_memory_size ignored;
    omen_error why;

    if (is_number(setting)) {
        omen_code code = set_number(config, setting, value, origin, err);
        if (code != OMEN_OK) return code;
    } else if (strlen(value) >= OMEN_CONFIG_TEXT_BYTES) {
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s has %zu bytes (from %s), the limit is %u",
                         setting->key, strlen(value), origin, OMEN_CONFIG_TEXT_BYTES - 1);
    } else if (setting->kind == TIER && value[0] != '\0' && omen_isas_named(value) == 0) {
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "%s is \"%.64s\" (from %s), it must be one of %s", setting->key, value,
                         origin, omen_isas_list());
    } else if (setting->kind == CPUS && omen_cpus_check(value, &why) != OMEN_OK) {
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s (from %s): %s", setting->key, origin,
                         why.message);
    } else if (setting->kind == MEMORY && !omen_memory_size_parse(value, &ignored)) {
        return omen_fail(
            err, OMEN_INVALID_ARGUMENT,
            "%s is \"%.64s\" (from %s), it must be a share from 1%% to 100%%, or a size "
            "as 4GiB, 512MiB or 1073741824",
            setting->key, value, origin);
    } else {
        memcpy(text_of(config, setting), value, strlen(value) + 1);
    }
    (void)snprintf(config->origins[setting - settings], OMEN_CONFIG_ORIGIN_BYTES, "%s", origin);
    return OMEN_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

#define SHARE              8u  /* of the limit, for a budget that was not set */
#define PROGRAM_MEMORY_MIB 64u /* its code, its threads and their workspaces */

static void fit_budget(struct omen_config *config, const char *key, uint64_t limit_mib)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (strcmp(settings[i].key, key) != 0 || strcmp(config->origins[i], "default") != 0)
            continue;
        uint32_t *mib = number_of(config, &settings[i]);
        if (*mib <= limit_mib / SHARE) return;
        *mib = (uint32_t)(limit_mib / SHARE);
        if (*mib < settings[i].min) *mib = settings[i].min;
        return;
    }
}

omen_code omen_config_fit_memory(struct omen_config *config, uint64_t limit, uint64_t *collections,
                                 omen_error *err)
{
    fit_budget(config, "ingest_memory_mib", limit >> 20);
    fit_budget(config, "request_memory_mib", limit >> 20);
    fit_budget(config, "grpc_memory_mib", limit >> 20);
    const uint64_t others = (uint64_t)config->ingest_memory_mib + config->request_memory_mib +
                            config->grpc_memory_mib + PROGRAM_MEMORY_MIB;
    if (limit <= others << 20)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "memory_limit is %" PRIu64 " MiB, and nothing is left for collections: "
                         "ingest_memory_mib, request_memory_mib, grpc_memory_mib and the program "
                         "take %" PRIu64 " MiB",
                         limit >> 20, others);
    *collections = limit - (others << 20);
    return OMEN_OK;
}

static omen_code read_environment(struct omen_config *config, omen_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[NAME_BYTES];

        spell(settings[i].key, ENVIRONMENT_PREFIX, name);
        const char *value = getenv(name);
        if (value == NULL) continue;
        omen_code code = set_value(config, &settings[i], value, name, err);
        if (code != OMEN_OK) return code;
    }
    return OMEN_OK;
}

/* ---- flags -------------------------------------------------------------------------------- */

static bool read_action(const char *argument, struct omen_config *config)
{
    if (strcmp(argument, "--help") == 0)
        config->action = OMEN_CONFIG_SHOW_HELP;
    else if (strcmp(argument, "--version") == 0)
        config->action = OMEN_CONFIG_SHOW_VERSION;
    else if (strcmp(argument, "--print-config") == 0)
        config->action = OMEN_CONFIG_SHOW_SETTINGS;
    else
        return false;
    return true;
}

/* The value of --name=value, NULL if the argument is not that flag; "" and *separate if the value
 * is the next argument. */
static const char *flag_value(const char *argument, const char *name, bool *separate)
{
    size_t length = strlen(name);

    *separate = false;
    if (strncmp(argument, name, length) != 0) return NULL;
    if (argument[length] == '=') return argument + length + 1;
    *separate = argument[length] == '\0';
    return *separate ? "" : NULL;
}

static const struct setting *find_flag(const char *argument, char name[NAME_BYTES],
                                       const char **value, bool *separate)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        spell(settings[i].key, "--", name);
        *value = flag_value(argument, name, separate);
        if (*value != NULL) return &settings[i];
    }
    (void)snprintf(name, NAME_BYTES, "--config");
    *value = flag_value(argument, name, separate);
    return NULL;
}

static omen_code read_flags(int argc, char **argv, struct omen_config *config, const char **file,
                            omen_error *err)
{
    for (int i = 1; i < argc; i++) {
        char name[NAME_BYTES];
        const char *value = NULL;
        bool separate = false;

        if (read_action(argv[i], config)) continue;
        const struct setting *setting = find_flag(argv[i], name, &value, &separate);
        if (value == NULL)
            return omen_fail(err, OMEN_INVALID_ARGUMENT,
                             "unknown flag \"%.64s\"; --help lists them", argv[i]);
        if (separate) {
            if (i + 1 == argc)
                return omen_fail(err, OMEN_INVALID_ARGUMENT, "%s needs a value", name);
            value = argv[++i];
        }
        if (setting == NULL) {
            *file = value;
            continue;
        }
        omen_code code = set_value(config, setting, value, name, err);
        if (code != OMEN_OK) return code;
    }
    return OMEN_OK;
}

/* ---- printing ----------------------------------------------------------------------------- */

void omen_config_print_help(FILE *out)
{
    (void)fprintf(out, "omendb-server " OMEN_VERSION " - a vector-search service over gRPC\n\n"
                       "usage: omendb-server --data-dir DIR [FLAG...]\n\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        char name[NAME_BYTES];

        spell(setting->key, "--", name);
        (void)fprintf(out, "  %-32s %s", name, setting->help);
        if (is_number(setting))
            (void)fprintf(out, " (%" PRIu32 "..%" PRIu32 ", default %s)", setting->min,
                          setting->max, setting->fallback);
        else if (setting->kind == TIER)
            (void)fprintf(out, " (%s)", omen_isas_list());
        else if (setting->fallback[0] != '\0')
            (void)fprintf(out, " (default %s)", setting->fallback);
        (void)fprintf(out, "\n");
    }
    (void)fprintf(out, "  %-32s %s\n  %-32s %s\n  %-32s %s\n  %-32s %s\n\n", "--config",
                  "a YAML file of settings", "--print-config",
                  "print the settings as such a file, and end", "--version",
                  "print the version, and end", "--help", "print this, and end");
    (void)fprintf(out,
                  "Each flag can be given in the environment (--grpc-port as OMENDB_GRPC_PORT) "
                  "and in the\nfile (grpc_port). A flag wins over the environment, and that "
                  "over the file.\n");
}

void omen_config_print(const struct omen_config *config, FILE *out)
{
    struct omen_config copy = *config;

    (void)fprintf(out, "# omendb-server " OMEN_VERSION "\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        (void)fprintf(out, "%s: ", settings[i].key);
        if (is_number(&settings[i]) && *number_of(&copy, &settings[i]) == OMEN_CONFIG_OFF) {
            (void)fprintf(out, OFF);
        } else if (is_number(&settings[i])) {
            (void)fprintf(out, "%" PRIu32, *number_of(&copy, &settings[i]));
        } else {
            (void)fputc('"', out);
            for (const char *text = text_of(&copy, &settings[i]); *text != '\0'; text++) {
                if (*text == '"' || *text == '\\') (void)fputc('\\', out);
                (void)fputc(*text, out);
            }
            (void)fputc('"', out);
        }
        (void)fprintf(out, "  # %s\n", copy.origins[i]);
    }
}
