/* config_file.c - the YAML file of settings: one mapping of names to scalars, nothing deeper.
 *
 * Failure modes: what is not such a mapping, a name that is there twice, and everything that
 * omen_config_set() refuses, is an error that names file and line.
 */
#include "service/config.h"

#include <yaml.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct reader {
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event; /* the last one; to be deleted before the next */
    bool has_event;
    char seen[OMEN_CONFIG_SETTINGS_MAX][64];
    size_t seen_count;
};

static omen_code next(struct reader *reader, omen_error *err)
{
    if (reader->has_event) yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event) != 0;
    if (reader->has_event) return OMEN_OK;
    return omen_fail(err, OMEN_INVALID_ARGUMENT, "%.160s:%zu: not YAML: %s", reader->path,
                     reader->parser.problem_mark.line + 1,
                     reader->parser.problem == NULL ? "unreadable" : reader->parser.problem);
}

static size_t line_of(const struct reader *reader)
{
    return reader->event.start_mark.line + 1;
}

static omen_code fail_shape(const struct reader *reader, omen_error *err)
{
    return omen_fail(err, OMEN_INVALID_ARGUMENT,
                     "%.160s:%zu: a configuration is lines of \"name: value\" and nothing deeper",
                     reader->path, line_of(reader));
}

static omen_code note_key(struct reader *reader, const char *key, omen_error *err)
{
    for (size_t i = 0; i < reader->seen_count; i++)
        if (strcmp(reader->seen[i], key) == 0)
            return omen_fail(err, OMEN_INVALID_ARGUMENT, "%.160s:%zu: %.64s is there twice",
                             reader->path, line_of(reader), key);
    if (reader->seen_count < OMEN_CONFIG_SETTINGS_MAX)
        (void)snprintf(reader->seen[reader->seen_count++], sizeof reader->seen[0], "%s", key);
    return OMEN_OK;
}

/* From behind the start of the mapping to its end. */
static omen_code read_mapping(struct reader *reader, struct omen_config *config, omen_error *err)
{
    for (;;) {
        char key[64];
        char origin[OMEN_CONFIG_ORIGIN_BYTES];
        omen_code code = next(reader, err);

        if (code != OMEN_OK) return code;
        if (reader->event.type == YAML_MAPPING_END_EVENT) return OMEN_OK;
        if (reader->event.type != YAML_SCALAR_EVENT) return fail_shape(reader, err);
        (void)snprintf(key, sizeof key, "%s", (const char *)reader->event.data.scalar.value);
        code = note_key(reader, key, err);
        if (code == OMEN_OK) code = next(reader, err);
        if (code != OMEN_OK) return code;
        if (reader->event.type != YAML_SCALAR_EVENT) return fail_shape(reader, err);
        (void)snprintf(origin, sizeof origin, "%.160s:%zu", reader->path, line_of(reader));
        code = omen_config_set(config, key, (const char *)reader->event.data.scalar.value, origin,
                               err);
        if (code != OMEN_OK) return code;
    }
}

static omen_code read_stream(struct reader *reader, struct omen_config *config, omen_error *err)
{
    bool mapped = false;

    for (;;) {
        omen_code code = next(reader, err);

        if (code != OMEN_OK) return code;
        switch (reader->event.type) {
        case YAML_STREAM_END_EVENT:
            return OMEN_OK;
        case YAML_MAPPING_START_EVENT:
            if (mapped) return fail_shape(reader, err);
            mapped = true;
            code = read_mapping(reader, config, err);
            if (code != OMEN_OK) return code;
            break;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        default:
            return fail_shape(reader, err);
        }
    }
}

omen_code omen_config_file_read(const char *path, struct omen_config *config, omen_error *err)
{
    struct reader reader = {.path = path};
    FILE *file = fopen(path, "rbe");
    omen_code code = OMEN_OK;

    if (file == NULL)
        return omen_fail(err, OMEN_NOT_FOUND, "config file %.160s: %s", path, strerror(errno));
    if (yaml_parser_initialize(&reader.parser) == 0) {
        (void)fclose(file);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read %.160s", path);
    }
    yaml_parser_set_input_file(&reader.parser, file);
    code = read_stream(&reader, config, err);
    if (reader.has_event) yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    (void)fclose(file);
    return code;
}
