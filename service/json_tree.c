/* json_tree.c - see json_tree.h. */
#include "service/json_tree.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base64.h"

#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53: above, JSON's numbers skip some */
#define EXACT_DIGITS      16u                /* of it */
#define MARK              '\xff'             /* no byte of UTF-8 */

omen_code omen_json_fault_type(struct omen_fault *fault, const char *field, const char *wanted)
{
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", field, "%s must be %s",
                          field, wanted);
}

/* ---- trees -------------------------------------------------------------------------------- */

static bool holds_nul(const char *body, size_t bytes)
{
    static const char escaped[] = "\\u0000";

    return memchr(body, '\0', bytes) != NULL ||
           memmem(body, bytes, escaped, sizeof escaped - 1) != NULL;
}

/* The length of the number at `at`, and whether it is a large integer. */
static size_t number_bytes(const char *at, bool *large)
{
    size_t bytes = strspn(at, "0123456789+-.eE");

    *large = bytes >= EXACT_DIGITS && at[0] != '0' && strspn(at, "0123456789") == bytes;
    return bytes;
}

/* Copies the body with its large integers as marked strings; false where it is no UTF-8. `out` has
 * room for a fourth more. */
static bool mark_integers(const char *body, char *out, size_t *bytes)
{
    const char *at = body;
    char *to = out;
    bool in_string = false;

    while (*at != '\0') {
        size_t length = omen_utf8_bytes(at);
        bool large = false;

        if (length == 0) {
            *bytes = (size_t)(at - body);
            return false;
        }
        if (in_string && *at == '\\' && at[1] != '\0') {
            length = 1 + (omen_utf8_bytes(at + 1) > 0 ? 1u : 0u);
        } else if (*at == '"') {
            in_string = !in_string;
        } else if (!in_string && (isdigit((unsigned char)*at) || *at == '-')) {
            length = number_bytes(at, &large);
        }
        if (large) {
            *to++ = '"';
            *to++ = MARK;
        }
        memcpy(to, at, length);
        to += length;
        at += length;
        if (large) *to++ = '"';
    }
    *to = '\0';
    *bytes = (size_t)(to - out);
    return true;
}

static cJSON *parse(const char *text, size_t bytes, struct omen_fault *fault)
{
    const char *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, bytes + 1, &end, 1);

    if (root == NULL) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body is not valid JSON: see byte %zu of %zu",
                             (size_t)(end - text), bytes);
    } else if (!cJSON_IsObject(root)) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body must be a JSON object");
        cJSON_Delete(root);
        root = NULL;
    }
    return root;
}

omen_json *omen_json_parse(const char *body, size_t bytes, struct omen_fault *fault)
{
    size_t marked_bytes = 0;
    char *marked = NULL;
    cJSON *root = NULL;

    fault->code = OMEN_OK;
    if (holds_nul(body, bytes)) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body holds a NUL character, which no field may have");
        return NULL;
    }
    marked = malloc(bytes + bytes / 4 + 1); /* 3 bytes to each 16 */
    if (marked == NULL)
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for a body of %zu bytes", bytes);
    else if (!mark_integers(body, marked, &marked_bytes))
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body is not valid UTF-8: see byte %zu of %zu", marked_bytes,
                             bytes);
    else
        root = parse(marked, marked_bytes, fault);
    free(marked);
    return (omen_json *)root;
}

void omen_json_destroy(omen_json *json)
{
    if (json != NULL) cJSON_Delete(&json->root);
}

/* ---- objects and arrays ------------------------------------------------------------------- */

omen_code omen_json_check_fields(const cJSON *object, const char *path, const char *const *known,
                                 struct omen_fault *fault)
{
    unsigned seen = 0;

    for (const cJSON *field = object->child; field != NULL; field = field->next) {
        char name[OMEN_FIELD_MAX];
        unsigned i = 0;

        while (known[i] != NULL && strcmp(known[i], field->string) != 0)
            i++;
        (void)snprintf(name, sizeof name, "%s%.40s", path, field->string);
        if (known[i] == NULL)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                                  "%s is no field of this request", name);
        if ((seen & 1u << i) != 0)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                                  "%s is there twice", name);
        seen |= 1u << i;
    }
    return OMEN_OK;
}

omen_code omen_json_check_item(const cJSON *item, const char *owner, uint32_t index,
                               const char *const *known, struct omen_fault *fault)
{
    char path[OMEN_FIELD_MAX];

    (void)snprintf(path, sizeof path, "%s[%u]", owner, index);
    if (!cJSON_IsObject(item)) return omen_json_fault_type(fault, path, "an object");
    (void)snprintf(path, sizeof path, "%s[%u].", owner, index);
    return omen_json_check_fields(item, path, known, fault);
}

const cJSON *omen_json_find(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

omen_code omen_json_find_array(const omen_json *json, const char *name, const cJSON **out,
                               struct omen_fault *fault)
{
    *out = omen_json_find(&json->root, name);
    if (*out != NULL && !cJSON_IsArray(*out)) return omen_json_fault_type(fault, name, "an array");
    return OMEN_OK;
}

uint32_t omen_json_count(const cJSON *array)
{
    uint32_t count = 0;

    for (const cJSON *at = array == NULL ? NULL : array->child; at != NULL; at = at->next)
        count++;
    return count;
}

/* ---- values ------------------------------------------------------------------------------- */

static bool is_marked(const cJSON *value)
{
    return cJSON_IsString(value) && value->valuestring[0] == MARK;
}

bool omen_json_is_string(const cJSON *value)
{
    return cJSON_IsString(value) && !is_marked(value);
}

bool omen_json_number(const cJSON *value, double *out)
{
    if (is_marked(value))
        *out = strtod(value->valuestring + 1, NULL);
    else if (cJSON_IsNumber(value))
        *out = value->valuedouble;
    else
        return false;
    return true;
}

bool omen_json_integer(const cJSON *value, uint64_t *out)
{
    if (is_marked(value)) {
        errno = 0;
        *out = strtoull(value->valuestring + 1, NULL, 10);
        return errno == 0;
    }
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0) ||
        !(value->valuedouble <= EXACT_INTEGER_MAX) ||
        value->valuedouble != floor(value->valuedouble))
        return false;
    *out = (uint64_t)value->valuedouble;
    return true;
}

omen_code omen_json_read_uint32(const cJSON *object, const char *name, const char *path,
                                uint32_t *out, struct omen_fault *fault)
{
    const cJSON *value = omen_json_find(object, name);
    uint64_t number = 0;

    if (value == NULL) return OMEN_OK;
    if (!omen_json_integer(value, &number) || number > UINT32_MAX)
        return omen_json_fault_type(fault, path, "an integer from 0 to 4294967295");
    *out = (uint32_t)number;
    return OMEN_OK;
}

omen_code omen_json_read_bool(const cJSON *object, const char *name, const char *path, bool *out,
                              struct omen_fault *fault)
{
    const cJSON *value = omen_json_find(object, name);

    if (value == NULL) return OMEN_OK;
    if (!cJSON_IsBool(value)) return omen_json_fault_type(fault, path, "true or false");
    *out = cJSON_IsTrue(value);
    return OMEN_OK;
}

/* ---- ids and vectors ---------------------------------------------------------------------- */

static void set_key(struct omen_given_id *out, const void *key, size_t bytes)
{
    out->refusal = bytes == 0 || bytes > OMEN_KEY_BYTES_MAX ? OMEN_REFUSED_KEY_LENGTH : 0;
    out->detail = (uint32_t)bytes;
    if (out->refusal != 0) return;
    memcpy(out->key, key, bytes);
    out->id = omen_id_key(out->key, (uint32_t)bytes);
}

static bool read_base64_key(const cJSON *value, struct omen_given_id *out)
{
    const cJSON *text = omen_json_find(value, "key_base64");
    uint8_t key[OMEN_KEY_BYTES_MAX];
    size_t bytes = 0;

    if (text == NULL || text->next != NULL || text != value->child || !omen_json_is_string(text) ||
        !omen_base64_decode(text->valuestring, key, sizeof key, &bytes))
        return false;
    set_key(out, key, bytes);
    return true;
}

omen_code omen_json_read_id(const cJSON *value, const char *path, struct omen_given_id *out,
                            struct omen_fault *fault)
{
    uint64_t num = 0;

    *out = (struct omen_given_id){.refusal = OMEN_REFUSED_ID_MISSING};
    if (value == NULL) return OMEN_OK;
    if (omen_json_integer(value, &num)) {
        out->id = omen_id_num(num);
        out->refusal = 0;
        return OMEN_OK;
    }
    if (omen_json_is_string(value)) {
        set_key(out, value->valuestring, strlen(value->valuestring));
        return OMEN_OK;
    }
    if (cJSON_IsObject(value) && read_base64_key(value, out)) return OMEN_OK;
    return omen_json_fault_type(fault, path,
                                "an integer from 0 to 18446744073709551615, or a key: a string, or "
                                "{\"key_base64\": \"...\"}");
}

omen_code omen_json_read_vector(const cJSON *holder, struct omen_json_vector *vector,
                                struct omen_fault *fault)
{
    const cJSON *array = omen_json_find(holder, "vector");
    char path[OMEN_FIELD_MAX];

    if (array == NULL) return OMEN_OK;
    (void)snprintf(path, sizeof path, "%s[%u].vector", vector->owner, vector->index);
    if (!cJSON_IsArray(array)) return omen_json_fault_type(fault, path, "an array of numbers");
    for (const cJSON *at = array->child; at != NULL; at = at->next) {
        uint64_t i = vector->components++;
        double value = 0;

        if (!omen_json_number(at, &value)) {
            (void)snprintf(path, sizeof path, "%s[%u].vector[%" PRIu64 "]", vector->owner,
                           vector->index, i);
            return omen_json_fault_type(fault, path, "a number");
        }
        if (i >= vector->dim || vector->row == NULL) continue;
        if (fabs(value) > (double)FLT_MAX)
            vector->row[i] = value > 0 ? INFINITY : -INFINITY;
        else
            vector->row[i] = (float)value;
    }
    return OMEN_OK;
}
