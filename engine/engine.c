/* engine.c - opening and closing an engine, and the registry of its collections. */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/calibrator.h"
#include "engine/checkpointer.h"
#include "engine/cpus.h"
#include "engine/directory.h"
#include "engine/engine_state.h"
#include "engine/epoch.h"
#include "engine/ingest.h"
#include "engine/memory.h"
#include "engine/scrubber.h"
#include "engine/search.h"
#include "engine/settings.h"
#include "engine/snapshots.h"
#include "engine/storage.h"

static omen_code check_options(const struct omen_engine_options *options, omen_engine *engine,
                               omen_error *err);
static omen_code count_one(void *user, char *path, omen_error *err);
static omen_code load_one(void *user, char *path, omen_error *err);
static omen_code register_collection(omen_engine *engine, omen_collection *c, omen_error *err);
static uint32_t find_place(const omen_engine *engine, const char *name, bool *there);
static omen_code check_free(const omen_engine *engine, const char *name, omen_error *err);
static omen_code make_collection(omen_engine *engine, const char *name, const uint8_t *incarnation,
                                 const struct omen_collection_settings *settings,
                                 omen_collection **out, omen_error *err);

/* How many threads there are for a list of CPUs, if nobody says otherwise. */
static omen_code count_cpus(const char *name, const char *list, uint32_t *threads, omen_error *err)
{
    struct omen_cpus before;
    omen_error why;
    omen_code code = omen_cpus_enter(list, &before, &why);

    if (code != OMEN_OK) return omen_fail(err, code, "%s: %s", name, why.message);
    if (*threads == 0) *threads = omen_cpus_count();
    omen_cpus_leave(&before);
    return OMEN_OK;
}

static omen_code open_data_dir(omen_engine *engine, uint64_t reserve, omen_error *err)
{
    engine->dir = engine->storage->ops->open_dir(engine->storage, engine->data_dir);
    if (engine->dir < 0) return omen_storage_fail(err, "open %s", engine->data_dir);
    omen_room_init(&engine->room, engine->storage, engine->dir, reserve);
    return OMEN_OK;
}

static omen_code start_crew(omen_engine *engine, omen_error *err)
{
    return omen_crew_create(engine->ingest_threads, &engine->crew, err);
}

static omen_code start_searchers(omen_engine *engine, omen_error *err)
{
    return omen_search_pool_start(engine->search_threads, &engine->pool, err);
}

/* Insert's threads, and those that look after what was inserted. */
static omen_code start_writers(omen_engine *engine, omen_error *err)
{
    uint64_t spare;
    omen_code code = omen_checkpointer_create(engine, &engine->checkpointer, err);

    if (code == OMEN_OK) (void)!omen_room_check(&engine->room, 0, &spare, NULL);
    if (code == OMEN_OK) code = omen_ingest_start(engine, &engine->ingest, err);
    if (code == OMEN_OK) code = omen_checkpointer_start(engine->checkpointer, err);
    if (code == OMEN_OK && engine->calibrate_seconds > 0)
        code = omen_calibrator_start(engine, &engine->calibrator, err);
    if (code == OMEN_OK && engine->scrub_mib > 0)
        code = omen_scrubber_start(engine, &engine->scrubber, err);
    return code;
}

/* Threads of one kind start on the CPUs that it is to have. */
static omen_code start_on(const char *cpus, omen_code (*start)(omen_engine *, omen_error *),
                          omen_engine *engine, omen_error *err)
{
    struct omen_cpus before;
    omen_code code = omen_cpus_enter(cpus, &before, err);

    if (code != OMEN_OK) return code;
    code = start(engine, err);
    omen_cpus_leave(&before);
    return code;
}

omen_code omen_engine_open(const struct omen_engine_options *options, omen_engine **out,
                           omen_error *err)
{
    omen_engine *engine = omen_alloc_zeroed(sizeof *engine);
    omen_code code = OMEN_OK;

    *out = NULL;
    if (engine == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "an engine");
    engine->lock_fd = engine->dir = -1;
    (void)pthread_mutex_init(&engine->registry_mutex, NULL);
    (void)pthread_mutex_init(&engine->writes_mutex, NULL);
    (void)pthread_mutex_init(&engine->snapshots_mutex, NULL);
    code = check_options(options, engine, err);
    if (code == OMEN_OK) code = omen_directory_lock(engine->data_dir, &engine->lock_fd, err);
    if (code == OMEN_OK) code = open_data_dir(engine, options->disk_reserve, err);
    if (code == OMEN_OK) omen_snapshots_clean(engine);
    if (code == OMEN_OK) code = start_on(options->ingest_cpus, start_crew, engine, err);
    if (code == OMEN_OK) code = omen_step_create(engine->crew, engine->shards, &engine->step, err);
    if (code == OMEN_OK)
        code = omen_directory_visit(engine->storage, engine->dir, engine->data_dir, count_one,
                                    engine, err);
    if (code == OMEN_OK)
        code = omen_directory_visit(engine->storage, engine->dir, engine->data_dir, load_one,
                                    engine, err);
    if (code == OMEN_OK) code = start_on(options->search_cpus, start_searchers, engine, err);
    if (code == OMEN_OK) code = start_on(options->ingest_cpus, start_writers, engine, err);
    if (code != OMEN_OK) {
        omen_engine_close(engine);
        return code;
    }
    omen_engine_tell_writes(engine);
    *out = engine;
    return OMEN_OK;
}

void omen_engine_close(omen_engine *engine)
{
    if (engine == NULL) return;
    omen_scrubber_stop(engine->scrubber);
    omen_calibrator_stop(engine->calibrator); /* first: it writes to logs */
    omen_checkpointer_stop(engine->checkpointer);
    omen_ingest_stop(engine->ingest); /* then this: the applier looks at the pool */
    omen_checkpointer_destroy(engine->checkpointer);
    omen_search_pool_stop(engine->pool);
    for (uint32_t i = 0; i < engine->collection_count; i++)
        omen_collection_release(engine->collections[i]);
    omen_step_destroy(engine->step);
    omen_crew_destroy(engine->crew);
    if (engine->dir >= 0) {
        omen_room_deinit(&engine->room);
        engine->storage->ops->close(engine->storage, engine->dir);
    }
    if (engine->lock_fd >= 0) (void)close(engine->lock_fd);
    (void)pthread_mutex_destroy(&engine->writes_mutex);
    (void)pthread_mutex_destroy(&engine->snapshots_mutex);
    (void)pthread_mutex_destroy(&engine->registry_mutex);
    omen_free(engine->data_dir);
    omen_free(engine);
}

omen_code omen_collection_create(omen_engine *engine, const char *name,
                                 const struct omen_collection_settings *settings,
                                 struct omen_collection_info *info, omen_error *err)
{
    struct omen_collection_settings checked = *settings;
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    omen_collection *c = NULL;
    omen_code code = omen_name_check(name, err);

    if (code == OMEN_OK) code = omen_settings_check(&checked, err);
    if (code != OMEN_OK) return code;
    if (getrandom(incarnation, sizeof incarnation, 0) != (ssize_t)sizeof incarnation)
        return omen_fail(err, OMEN_UNAVAILABLE, "no random bytes for an incarnation");
    /* Held while files are made: creating is rare, and two of one name must not race. */
    (void)pthread_mutex_lock(&engine->registry_mutex);
    code = check_free(engine, name, err);
    if (code == OMEN_OK) code = omen_room_refusal(&engine->room, err);
    if (code == OMEN_OK) code = make_collection(engine, name, incarnation, &checked, &c, err);
    if (code == OMEN_OK) code = register_collection(engine, c, err);
    if (code == OMEN_OK && info != NULL) omen_collection_get_info(c, info);
    if (code == OMEN_OK)
        omen_engine_tell(engine, OMEN_EVENT_INFO, "collection '%s' created: dim %u, kernels %s",
                         c->name, c->settings.dim, c->kernels.dot_i8_many_name);
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return code;
}

omen_code omen_engine_name_is_free(omen_engine *engine, const char *name, omen_error *err)
{
    (void)pthread_mutex_lock(&engine->registry_mutex);
    const omen_code code = check_free(engine, name, err);
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return code;
}

/* Loading took its time, and the name may be taken by now. */
omen_code omen_engine_adopt(omen_engine *engine, omen_collection *c,
                            struct omen_collection_info *info, omen_error *err)
{
    char made[OMEN_DIRECTORY_NAME_BYTES];
    char making[OMEN_DIRECTORY_NAME_BYTES];
    omen_code code = OMEN_OK;

    omen_directory_name(c->incarnation, "", made);
    omen_directory_name(c->incarnation, ".making", making);
    (void)pthread_mutex_lock(&engine->registry_mutex);
    code = check_free(engine, c->name, err);
    if (code == OMEN_OK)
        code = omen_directory_rename(engine->storage, engine->dir, making, made, err);
    if (code == OMEN_OK) {
        c->dir[strlen(c->dir) - strlen(".making")] = '\0';
        code = register_collection(engine, c, err);
        if (code == OMEN_OK && info != NULL) omen_collection_get_info(c, info);
    } else {
        omen_collection_release(c);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return code;
}

omen_code omen_collection_acquire(omen_engine *engine, const char *name, omen_collection **out,
                                  omen_error *err)
{
    bool there = false;
    uint32_t i;

    *out = NULL;
    (void)pthread_mutex_lock(&engine->registry_mutex);
    i = find_place(engine, name, &there);
    if (there) {
        *out = engine->collections[i];
        omen_collection_retain(*out);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    if (there) return OMEN_OK;
    return omen_fail_because(err, OMEN_NOT_FOUND, "COLLECTION_NOT_FOUND",
                             "collection '%.*s' does not exist", (int)OMEN_NAME_BYTES_MAX, name);
}

uint32_t omen_engine_list(omen_engine *engine, omen_collection **out)
{
    uint32_t count;

    (void)pthread_mutex_lock(&engine->registry_mutex);
    count = engine->collection_count;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = engine->collections[i];
        omen_collection_retain(out[i]);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return count;
}

omen_code omen_collection_list(omen_engine *engine, struct omen_collection_info **out,
                               size_t *count, omen_error *err)
{
    omen_code code = OMEN_OK;

    *count = 0;
    (void)pthread_mutex_lock(&engine->registry_mutex);
    *out = omen_alloc((engine->collection_count + 1) * sizeof **out);
    if (*out == NULL) code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a list of collections");
    for (uint32_t i = 0; code == OMEN_OK && i < engine->collection_count; i++)
        omen_collection_get_info(engine->collections[i], &(*out)[(*count)++]);
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    return code;
}

void omen_collection_list_free(struct omen_collection_info *list)
{
    omen_free(list);
}

static omen_code drop_directory(omen_engine *engine, const omen_collection *c, omen_error *err)
{
    char name[OMEN_DIRECTORY_NAME_BYTES];
    char dropped[OMEN_DIRECTORY_NAME_BYTES];

    omen_directory_name(c->incarnation, "", name);
    omen_directory_name(c->incarnation, ".dropped", dropped);
    return omen_directory_rename(engine->storage, engine->dir, name, dropped, err);
}

omen_code omen_collection_delete(omen_engine *engine, const char *name, omen_error *err)
{
    omen_collection *c = NULL;
    bool there = false;
    omen_code code = OMEN_OK;
    uint32_t i;

    (void)pthread_mutex_lock(&engine->registry_mutex);
    i = find_place(engine, name, &there);
    if (there) {
        c = engine->collections[i];
        code = drop_directory(engine, c, err);
    }
    if (there && code == OMEN_OK) {
        engine->collection_count--;
        memmove(&engine->collections[i], &engine->collections[i + 1],
                (engine->collection_count - i) * sizeof *engine->collections);
    }
    (void)pthread_mutex_unlock(&engine->registry_mutex);
    if (!there)
        return omen_fail_because(err, OMEN_NOT_FOUND, "COLLECTION_NOT_FOUND",
                                 "collection '%.*s' does not exist", (int)OMEN_NAME_BYTES_MAX,
                                 name);
    if (code != OMEN_OK) return code;
    omen_engine_tell(engine, OMEN_EVENT_INFO, "collection '%s' deleted", c->name);
    omen_ingest_drop(c);
    omen_collection_release(c); /* the registry's */
    return OMEN_OK;
}

void omen_engine_get_disk(omen_engine *engine, struct omen_disk_info *out)
{
    *out = (struct omen_disk_info){.free = omen_room_free_bytes(&engine->room),
                                   .reserve = engine->room.reserve,
                                   .full = omen_room_level(&engine->room) != OMEN_ROOM_FOR_ALL};
}

void omen_engine_get_memory(omen_engine *engine, struct omen_memory_info *out)
{
    *out = (struct omen_memory_info){
        .used = atomic_load_explicit(&engine->memory.used, memory_order_relaxed),
        .limit = engine->memory.limit};
}

void omen_engine_count_failed(omen_engine *engine, const omen_error *why)
{
    (void)pthread_mutex_lock(&engine->writes_mutex);
    if (why != NULL) engine->failure = *why;
    engine->failed_count += why != NULL ? 1 : UINT32_MAX;
    (void)pthread_mutex_unlock(&engine->writes_mutex);
    omen_engine_tell_writes(engine);
}

/* Under the mutex throughout, so that the last thing told is how it is. */
void omen_engine_tell_writes(omen_engine *engine)
{
    omen_error why = {0};
    omen_code code = OMEN_OK;

    if (engine->writes == NULL) return;
    (void)pthread_mutex_lock(&engine->writes_mutex);
    code = omen_room_refusal(&engine->room, &why);
    if (code == OMEN_OK && engine->failed_count > 0) {
        code = OMEN_UNAVAILABLE;
        why = engine->failure;
    }
    engine->writes(engine->event_user, code, &why);
    (void)pthread_mutex_unlock(&engine->writes_mutex);
}

void omen_engine_tell(const omen_engine *engine, enum omen_event_level level, const char *format,
                      ...)
{
    char message[512];
    va_list args;

    if (engine->event == NULL) return;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    engine->event(engine->event_user, level, message);
}

static omen_code check_options(const struct omen_engine_options *options, omen_engine *engine,
                               omen_error *err)
{
    size_t length = options->data_dir == NULL ? 0 : strlen(options->data_dir);

    engine->storage = options->storage == NULL ? omen_storage_files() : options->storage;
    engine->event = options->event;
    engine->writes = options->writes;
    engine->memory.limit = options->memory_limit;
    engine->event_user = options->event_user;
    engine->loading = options->loading;
    engine->replay_ns_max = options->replay_ms_max == OMEN_REPLAY_MS_OFF ? 0
                            : options->replay_ms_max == 0
                                ? (uint64_t)OMEN_REPLAY_MS_DEFAULT * 1000000
                                : (uint64_t)options->replay_ms_max * 1000000;
    engine->memory.captures = engine->replay_ns_max > 0;
    if (length == 0 || length > 3800)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "data_dir has %zu bytes; it has 1 to 3800",
                         length);
    if (options->ingest_threads > OMEN_THREADS_MAX || options->search_threads > OMEN_THREADS_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "ingest_threads is %u and search_threads is %u; each is at most %u",
                         options->ingest_threads, options->search_threads, OMEN_THREADS_MAX);
    if (options->shards > OMEN_SHARDS_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "shards is %u; it is at most %u",
                         options->shards, OMEN_SHARDS_MAX);
    if (options->calibrate_seconds > OMEN_CALIBRATE_SECONDS_MAX || options->calibrate_percent > 100)
        return omen_fail(err, OMEN_INVALID_ARGUMENT,
                         "calibrate_seconds is %u and calibrate_percent is %u; they are at most %u "
                         "and 100",
                         options->calibrate_seconds, options->calibrate_percent,
                         OMEN_CALIBRATE_SECONDS_MAX);
    if (options->scrub_mib > OMEN_SCRUB_MIB_MAX)
        return omen_fail(err, OMEN_INVALID_ARGUMENT, "scrub_mib is %u; it is at most %u",
                         options->scrub_mib, OMEN_SCRUB_MIB_MAX);
    engine->scrub_mib = options->scrub_mib;
    engine->calibrate_seconds = options->calibrate_seconds;
    engine->calibrate_percent = options->calibrate_percent == 0 ? OMEN_CALIBRATE_PERCENT_DEFAULT
                                                                : options->calibrate_percent;
    engine->ingest_threads = options->ingest_threads;
    engine->search_threads = options->search_threads;
    omen_code code = count_cpus("ingest_cpus", options->ingest_cpus, &engine->ingest_threads, err);
    if (code == OMEN_OK)
        code = count_cpus("search_cpus", options->search_cpus, &engine->search_threads, err);
    if (code != OMEN_OK) return code;
    engine->shards = options->shards == 0 ? 4 * engine->ingest_threads : options->shards;
    engine->isas = omen_cpu_isas();
    if (options->simd != NULL) {
        unsigned wanted = omen_isas_named(options->simd);

        if (wanted == 0)
            return omen_fail(err, OMEN_INVALID_ARGUMENT, "simd is '%.40s'; it is one of %s",
                             options->simd, omen_isas_list());
        if ((wanted & ~engine->isas) != 0)
            return omen_fail(err, OMEN_INVALID_ARGUMENT,
                             "simd is '%s', but this machine runs '%s' at most", options->simd,
                             omen_isas_top(engine->isas));
        engine->isas = wanted;
    }
    engine->data_dir = omen_alloc(length + 1);
    if (engine->data_dir == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a path of %zu bytes", length);
    memcpy(engine->data_dir, options->data_dir, length + 1);
    return OMEN_OK;
}

void omen_engine_tell_loading(omen_engine *engine, double share)
{
    if (engine->loading == NULL || engine->to_load == 0) return;
    engine->loading(engine->event_user,
                    (uint32_t)(1000.0 * (engine->loaded + share) / engine->to_load));
}

static omen_code count_one(void *user, char *path, omen_error *err)
{
    omen_engine *engine = user;

    (void)err;
    engine->to_load++;
    omen_free(path);
    return OMEN_OK;
}

static omen_code load_one(void *user, char *path, omen_error *err)
{
    omen_engine *engine = user;
    omen_collection *c = NULL;
    omen_code code = omen_collection_load(engine, path, &c, err);

    if (code != OMEN_OK) return code;
    engine->loaded++;
    omen_engine_tell(engine, OMEN_EVENT_INFO,
                     "collection '%s': %llu points, %llu records, kernels %s", c->name,
                     (unsigned long long)c->admit.point_count,
                     (unsigned long long)c->admit.position, c->kernels.dot_i8_many_name);
    return register_collection(engine, c, err);
}

/* Takes the reference, also on failure. */
static omen_code register_collection(omen_engine *engine, omen_collection *c, omen_error *err)
{
    bool there = false;
    uint32_t i = find_place(engine, c->name, &there);

    if (there || engine->collection_count == OMEN_COLLECTIONS_MAX) {
        omen_code code = omen_fail(err, OMEN_DATA_LOSS,
                                   "two directories hold a collection '%s', or there are more "
                                   "than %u",
                                   c->name, OMEN_COLLECTIONS_MAX);

        omen_collection_release(c);
        return code;
    }
    memmove(&engine->collections[i + 1], &engine->collections[i],
            (engine->collection_count - i) * sizeof *engine->collections);
    engine->collections[i] = c;
    engine->collection_count++;
    return OMEN_OK;
}

/* Where the name is, or belongs. Under the registry's mutex, or before there are threads. */
static uint32_t find_place(const omen_engine *engine, const char *name, bool *there)
{
    uint32_t i = 0;

    while (i < engine->collection_count && strcmp(engine->collections[i]->name, name) < 0)
        i++;
    *there = i < engine->collection_count && strcmp(engine->collections[i]->name, name) == 0;
    return i;
}

/* Under the registry's mutex. */
static omen_code check_free(const omen_engine *engine, const char *name, omen_error *err)
{
    bool there = false;

    (void)find_place(engine, name, &there);
    if (there)
        return omen_fail_because(err, OMEN_ALREADY_EXISTS, "COLLECTION_EXISTS",
                                 "collection '%s' exists", name);
    if (engine->collection_count == OMEN_COLLECTIONS_MAX)
        return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, "COLLECTION_LIMIT",
                                 "there are %u collections; that is the limit",
                                 OMEN_COLLECTIONS_MAX);
    return OMEN_OK;
}

/* Everything that may fail happens under the name <incarnation>.making, then comes one rename: a
 * crash or a failure leaves either nothing that counts or a whole collection. */
static omen_code make_collection(omen_engine *engine, const char *name, const uint8_t *incarnation,
                                 const struct omen_collection_settings *settings,
                                 omen_collection **out, omen_error *err)
{
    char made[OMEN_DIRECTORY_NAME_BYTES];
    char making[OMEN_DIRECTORY_NAME_BYTES];
    const size_t size = strlen(engine->data_dir) + sizeof making + 1;
    char *dir = omen_alloc(size);
    omen_code code = OMEN_OK;

    if (dir == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a path of %zu bytes", size);
    omen_directory_name(incarnation, "", made);
    omen_directory_name(incarnation, ".making", making);
    (void)snprintf(dir, size, "%s/%s", engine->data_dir, making);
    code = omen_directory_make(engine->storage, engine->dir, making, err);
    if (code == OMEN_OK) code = omen_collection_make(engine, dir, name, incarnation, settings, err);
    if (code == OMEN_OK)
        code = omen_collection_load(engine, dir, out, err);
    else
        omen_free(dir);
    if (code == OMEN_OK)
        code = omen_directory_rename(engine->storage, engine->dir, making, made, err);
    if (code == OMEN_OK) { /* shorter than what stood there */
        (void)snprintf((*out)->dir, size, "%s/%s", engine->data_dir, made);
        return OMEN_OK;
    }
    omen_collection_release(*out);
    *out = NULL;
    omen_directory_remove(engine->storage, engine->dir, engine->data_dir, making);
    return code;
}
