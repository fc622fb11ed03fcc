/* main.c - omendb-server: reads its settings, listens, loads, serves until it is told to stop.
 *
 * Every signal is blocked in every thread, and this one waits for them. The engine is opened on a
 * thread of its own, since a replay can take minutes, and says that it is done with SIGUSR1.
 *
 * Failure modes: settings that do not hold end the process with 2, an address or a data directory
 * that cannot be had with 1, both with one sentence in the log. SIGTERM during the replay leaves at
 * once: no record is lost by it. SIGTERM later drains, and the process ends with 0.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "kernels/kernels.h"
#include "service/config.h"
#include "service/log.h"
#include "service/memory_limit.h"
#include "service/offline.h"
#include "service/service.h"

enum { EXIT_BAD_SETTINGS = 2 };

struct loading {
    /* Fixed at start. */
    const struct omen_config *config;
    uint64_t memory_limit; /* of the collections */
    pthread_t main_thread;
    pthread_t thread;

    /* Written by `thread`, read by the main thread after joining it. */
    omen_engine *engine;
    omen_code code;
    omen_error error;

    /* The engine outlives the service, and tells it things until then: under the mutex, NULL
     * afterwards. */
    pthread_mutex_t mutex;
    omen_service *service;
};

static void *open_engine(void *user);
static void raise_descriptor_limit(void);
static omen_code limit_memory(struct omen_config *config, uint64_t *collections, omen_error *err);
static int serve(const struct omen_config *config, uint64_t memory_limit, const sigset_t *signals);
static int wait_and_stop(struct loading *loading, omen_service *service, const sigset_t *signals);
static int leave_while_loading(omen_service *service);
static void write_checkpoints(const struct omen_config *config, omen_engine *engine);
static void note_loading(void *user, uint32_t thousandths);
static void note_writes(void *user, omen_code code, const omen_error *why);
static void forget_service(struct loading *loading);
static void log_error(const char *message, const omen_error *error);
static void log_event(void *user, enum omen_event_level level, const char *message);

int main(int argc, char **argv)
{
    static struct omen_config config;
    uint64_t memory_limit = 0;
    omen_error error = {0};
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigaddset(&signals, SIGPIPE); /* never waited for: blocked is ignored */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)sigdelset(&signals, SIGPIPE);

    if (argc > 1 && omen_offline_knows(argv[1])) return omen_offline_main(argc, argv);
    if (omen_config_load(argc, argv, &config, &error) != OMEN_OK) {
        log_error("bad settings", &error);
        return EXIT_BAD_SETTINGS;
    }
    switch (config.action) {
    case OMEN_CONFIG_SHOW_HELP:
        omen_config_print_help(stdout);
        return EXIT_SUCCESS;
    case OMEN_CONFIG_SHOW_VERSION:
        (void)printf("omendb-server %s\n", OMEN_VERSION);
        return EXIT_SUCCESS;
    case OMEN_CONFIG_SHOW_SETTINGS:
        omen_config_print(&config, stdout);
        return EXIT_SUCCESS;
    case OMEN_CONFIG_RUN:
        break;
    }
    raise_descriptor_limit();
    if (limit_memory(&config, &memory_limit, &error) != OMEN_OK) {
        log_error("bad settings", &error);
        return EXIT_BAD_SETTINGS;
    }
    return serve(&config, memory_limit, &signals);
}

/* A collection holds three descriptors and a client one: the usual soft limit of 1,024 would let
 * clients starve a log that needs its next file. Nothing here uses select(2), which that limit is
 * for. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what is not allowed stays as it was */
}

/* What is in there is told, because nobody would guess it. */
static omen_code limit_memory(struct omen_config *config, uint64_t *collections, omen_error *err)
{
    struct omen_memory_source source = {.name = "nothing"};
    struct omen_memory_size size;
    struct omen_logline line;
    uint64_t limit = 0;

    (void)omen_memory_size_parse(config->memory_limit, &size); /* it was when it was set */
    limit = size.bytes;
    if (size.percent > 0 && omen_memory_available("", &source))
        limit = source.bytes / 100 * size.percent;
    if (limit == 0)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "memory_limit is %s, and neither cgroup nor machine says of what: give it "
                         "in bytes",
                         config->memory_limit);
    const omen_code code = omen_config_fit_memory(config, limit, collections, err);
    if (code != OMEN_OK) return code;
    omen_logline_init(&line, OMEN_EVENT_INFO, "memory");
    omen_logline_add(&line, "limit_mib", "%" PRIu64, limit >> 20);
    omen_logline_add(&line, "of", "%s", size.percent > 0 ? source.name : config->memory_limit);
    omen_logline_add(&line, "collections_mib", "%" PRIu64, *collections >> 20);
    omen_logline_write(&line);
    return OMEN_OK;
}

/* All of its threads, and gRPC's own, start on the CPUs of searches. */
static omen_code open_service(const struct omen_config *config, omen_service **out, omen_error *err)
{
    struct omen_cpus before;
    omen_code code = omen_cpus_enter(config->search_cpus, &before, err);

    *out = NULL;
    if (code != OMEN_OK) return code;
    code = omen_service_open(config, out, err);
    omen_cpus_leave(&before);
    return code;
}

static int serve(const struct omen_config *config, uint64_t memory_limit, const sigset_t *signals)
{
    struct loading loading = {
        .config = config, .memory_limit = memory_limit, .main_thread = pthread_self()};
    omen_service *service = NULL;
    struct omen_logline line;
    omen_error error = {0};

    (void)pthread_mutex_init(&loading.mutex, NULL);
    if (open_service(config, &service, &error) != OMEN_OK) {
        log_error("cannot start", &error);
        return EXIT_FAILURE;
    }
    omen_logline_init(&line, OMEN_EVENT_INFO, "listening");
    omen_logline_add(&line, "version", "%s", OMEN_VERSION);
    omen_logline_add(&line, "host", "%s", config->grpc_host);
    omen_logline_add(&line, "port", "%u", (unsigned)omen_service_port(service));
    omen_logline_add(&line, "http_port", "%u", (unsigned)omen_service_http_port(service));
    omen_logline_add(&line, "data_dir", "%s", config->data_dir);
    omen_logline_write(&line);
    loading.service = service;
    if (pthread_create(&loading.thread, NULL, open_engine, &loading) != 0) {
        log_error("cannot start", &(const omen_error){.message = "no thread to load with"});
        omen_service_close(service);
        return EXIT_FAILURE;
    }
    return wait_and_stop(&loading, service, signals);
}

static int wait_and_stop(struct loading *loading, omen_service *service, const sigset_t *signals)
{
    const struct omen_config *config = loading->config;
    unsigned allowed = config->simd[0] == '\0' ? ~0u : omen_isas_named(config->simd);
    struct omen_logline line;
    int signal = 0;

    while (sigwait(signals, &signal) != 0)
        continue;
    if (signal != SIGUSR1) {
        forget_service(loading);
        return leave_while_loading(service);
    }
    (void)pthread_join(loading->thread, NULL);
    if (loading->code != OMEN_OK) {
        log_error("cannot load", &loading->error);
        omen_service_close(service);
        return EXIT_FAILURE;
    }
    omen_service_serve(service, loading->engine);
    omen_logline_init(&line, OMEN_EVENT_INFO, "serving");
    omen_logline_add(&line, "version", "%s", OMEN_VERSION);
    omen_logline_add(&line, "port", "%u", (unsigned)omen_service_port(service));
    omen_logline_add(&line, "http_port", "%u", (unsigned)omen_service_http_port(service));
    omen_logline_add(&line, "kernels", "%s", omen_isas_top(omen_cpu_isas() & allowed));
    omen_logline_write(&line);

    while (sigwait(signals, &signal) != 0 || signal == SIGUSR1)
        continue;
    omen_logline_init(&line, OMEN_EVENT_INFO, "draining");
    omen_logline_add(&line, "signal", "%s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    omen_logline_add(&line, "seconds", "%u", (unsigned)config->drain_seconds);
    omen_logline_write(&line);
    omen_service_drain(service, config->drain_seconds);
    forget_service(loading);
    omen_service_close(service);
    write_checkpoints(config, loading->engine);
    omen_engine_close(loading->engine);
    omen_logline_init(&line, OMEN_EVENT_INFO, "stopped");
    omen_logline_write(&line);
    return EXIT_SUCCESS;
}

/* The next start then replays nothing. Without them it only takes longer. */
static void write_checkpoints(const struct omen_config *config, omen_engine *engine)
{
    omen_error error;

    if (config->checkpoint_seconds == OMEN_CONFIG_OFF) return;
    if (omen_engine_checkpoint(engine, &error) != OMEN_OK)
        log_error("not every checkpoint was written", &error);
}

/* The engine cannot be asked to stop half-way, and need not be: what it writes while it loads may
 * be cut off anywhere, as by a crash. */
static int leave_while_loading(omen_service *service)
{
    struct omen_logline line;

    omen_service_close(service);
    omen_logline_init(&line, OMEN_EVENT_INFO, "stopped while loading");
    omen_logline_write(&line);
    _exit(EXIT_SUCCESS);
}

static void *open_engine(void *user)
{
    struct loading *loading = user;
    const struct omen_config *config = loading->config;
    struct omen_engine_options options = {
        .data_dir = config->data_dir,
        .ingest_threads = config->ingest_threads,
        .shards = config->shards,
        .search_threads = config->search_threads,
        .ingest_cpus = config->ingest_cpus,
        .search_cpus = config->search_cpus,
        .calibrate_seconds = config->calibrate_seconds,
        .calibrate_percent = config->calibrate_percent,
        .scrub_mib = config->scrub_mib_per_second,
        .simd = config->simd[0] == '\0' ? NULL : config->simd,
        .event = log_event,
        .event_user = loading,
        .loading = note_loading,
        .writes = note_writes,
        .memory_limit = loading->memory_limit,
        .disk_reserve = (uint64_t)config->disk_reserve_mib << 20,
        .replay_ms_max = config->checkpoint_seconds == OMEN_CONFIG_OFF
                             ? OMEN_REPLAY_MS_OFF
                             : config->checkpoint_seconds * 1000,
    };

    loading->code = omen_engine_open(&options, &loading->engine, &loading->error);
    (void)pthread_kill(loading->main_thread, SIGUSR1);
    return NULL;
}

static void note_loading(void *user, uint32_t thousandths)
{
    struct loading *loading = user;

    (void)pthread_mutex_lock(&loading->mutex);
    if (loading->service != NULL) omen_service_set_loading(loading->service, thousandths);
    (void)pthread_mutex_unlock(&loading->mutex);
}

static void note_writes(void *user, omen_code code, const omen_error *why)
{
    struct loading *loading = user;

    (void)why; /* an event of the engine's says it */
    (void)pthread_mutex_lock(&loading->mutex);
    if (loading->service != NULL) omen_service_set_writes(loading->service, code == OMEN_OK);
    (void)pthread_mutex_unlock(&loading->mutex);
}

static void forget_service(struct loading *loading)
{
    (void)pthread_mutex_lock(&loading->mutex);
    loading->service = NULL;
    (void)pthread_mutex_unlock(&loading->mutex);
}

static void log_error(const char *message, const omen_error *error)
{
    struct omen_logline line;

    omen_logline_init(&line, OMEN_EVENT_ERROR, message);
    omen_logline_add(&line, "error", "%s", error->message);
    omen_logline_write(&line);
}

static void log_event(void *user, enum omen_event_level level, const char *message)
{
    struct omen_logline line;

    (void)user;
    omen_logline_init(&line, level, "engine");
    omen_logline_add(&line, "event", "%s", message);
    omen_logline_write(&line);
}
