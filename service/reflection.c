/* reflection.c - grpc.reflection.v1 and v1alpha, which are the same on the wire.
 *
 * The descriptor set of every .proto is part of the binary. At the start its symbols are indexed by
 * their full names; an answer holds the file that defines what was asked for, and every file that
 * this one imports, directly or not.
 *
 * A stream is answered message by message: read, write, and the next read when that was delivered.
 */
#include "service/reflection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "service/decode.h"
#include "service/methods.h"
#include "service/reply.h"
#include "service/service.h"

typedef Google__Protobuf__FileDescriptorSet file_set;
typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

/* protobuf-c's names for the members of the two oneofs, longer than a line. */
#define ASKS(member) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##member
#define SAYS(member) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##member

#define FILES_MAX    32u
#define SYMBOL_BYTES 192u

extern const uint8_t omen_descriptor_set[]; /* proto/descriptors.S */
extern const uint8_t omen_descriptor_set_end[];

struct symbol {
    char name[SYMBOL_BYTES]; /* omendb.v1.Chunk.points */
    uint32_t file;
};

/* Fixed once created. */
struct omen_reflection {
    file_set *set;
    ProtobufCBinaryData files[FILES_MAX]; /* as bytes, one for each of set->file */
    struct symbol *symbols;
    size_t symbol_count;
    size_t symbol_room;
    bool failed; /* no memory, or a file too many: not created */
};

/* ---- the index ---------------------------------------------------------------------------- */

/* Adds scope.name and writes it to `full`, for what is inside. */
static void add_symbol(struct omen_reflection *reflection, uint32_t file, const char *scope,
                       const char *name, char full[SYMBOL_BYTES])
{
    int length = snprintf(full, SYMBOL_BYTES, "%s%s%s", scope, scope[0] == '\0' ? "" : ".", name);

    if (reflection->symbol_count == reflection->symbol_room) {
        size_t room = reflection->symbol_room * 2 + 64;
        struct symbol *grown = realloc(reflection->symbols, room * sizeof *grown);

        if (grown == NULL) {
            reflection->failed = true;
            return;
        }
        reflection->symbols = grown;
        reflection->symbol_room = room;
    }
    if (length < 0 || (size_t)length >= SYMBOL_BYTES) reflection->failed = true;
    struct symbol *symbol = &reflection->symbols[reflection->symbol_count++];
    memcpy(symbol->name, full, SYMBOL_BYTES);
    symbol->file = file;
}

static void index_enum(struct omen_reflection *reflection, uint32_t file, const char *scope,
                       const enum_proto *type)
{
    char full[SYMBOL_BYTES];

    add_symbol(reflection, file, scope, type->name, full);
    for (size_t i = 0; i < type->n_value; i++) /* siblings of their enum, as in C++ */
        add_symbol(reflection, file, scope, type->value[i]->name, full);
}

static void index_message(struct omen_reflection *reflection, uint32_t file, const char *scope,
                          const message_proto *type)
{
    char full[SYMBOL_BYTES];
    char inner[SYMBOL_BYTES];

    add_symbol(reflection, file, scope, type->name, full);
    for (size_t i = 0; i < type->n_field; i++)
        add_symbol(reflection, file, full, type->field[i]->name, inner);
    for (size_t i = 0; i < type->n_oneof_decl; i++)
        add_symbol(reflection, file, full, type->oneof_decl[i]->name, inner);
    for (size_t i = 0; i < type->n_enum_type; i++)
        index_enum(reflection, file, full, type->enum_type[i]);
    for (size_t i = 0; i < type->n_nested_type; i++)
        index_message(reflection, file, full, type->nested_type[i]);
}

static void index_service(struct omen_reflection *reflection, uint32_t file, const char *scope,
                          const service_proto *service)
{
    char full[SYMBOL_BYTES];
    char inner[SYMBOL_BYTES];

    add_symbol(reflection, file, scope, service->name, full);
    for (size_t i = 0; i < service->n_method; i++)
        add_symbol(reflection, file, full, service->method[i]->name, inner);
}

static void index_file(struct omen_reflection *reflection, uint32_t index)
{
    const file_proto *file = reflection->set->file[index];
    const char *package = file->package == NULL ? "" : file->package;
    ProtobufCBinaryData *bytes = &reflection->files[index];

    bytes->data = malloc(google__protobuf__file_descriptor_proto__get_packed_size(file));
    if (bytes->data == NULL) {
        reflection->failed = true;
        return;
    }
    bytes->len = google__protobuf__file_descriptor_proto__pack(file, bytes->data);
    for (size_t i = 0; i < file->n_message_type; i++)
        index_message(reflection, index, package, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        index_enum(reflection, index, package, file->enum_type[i]);
    for (size_t i = 0; i < file->n_service; i++)
        index_service(reflection, index, package, file->service[i]);
}

struct omen_reflection *omen_reflection_create(void)
{
    struct omen_reflection *reflection = calloc(1, sizeof *reflection);
    size_t bytes = (size_t)(omen_descriptor_set_end - omen_descriptor_set);

    if (reflection == NULL) return NULL;
    reflection->set =
        google__protobuf__file_descriptor_set__unpack(NULL, bytes, omen_descriptor_set);
    reflection->failed = reflection->set == NULL || reflection->set->n_file > FILES_MAX;
    for (uint32_t i = 0; !reflection->failed && i < reflection->set->n_file; i++)
        index_file(reflection, i);
    if (reflection->failed) {
        omen_reflection_destroy(reflection);
        return NULL;
    }
    return reflection;
}

void omen_reflection_destroy(struct omen_reflection *reflection)
{
    if (reflection == NULL) return;
    for (size_t i = 0; i < FILES_MAX; i++)
        free(reflection->files[i].data);
    google__protobuf__file_descriptor_set__free_unpacked(reflection->set, NULL);
    free(reflection->symbols);
    free(reflection);
}

/* ---- looking things up -------------------------------------------------------------------- */

/* The index of the file, or -1. */
static int find_file(const struct omen_reflection *reflection, const char *name)
{
    for (uint32_t i = 0; i < reflection->set->n_file; i++)
        if (strcmp(reflection->set->file[i]->name, name) == 0) return (int)i;
    return -1;
}

static int find_symbol(const struct omen_reflection *reflection, const char *name)
{
    if (name[0] == '.') name++;
    for (size_t i = 0; i < reflection->symbol_count; i++)
        if (strcmp(reflection->symbols[i].name, name) == 0) return (int)reflection->symbols[i].file;
    return -1;
}

/* Marks the file and everything that it imports. */
static void mark_with_imports(const struct omen_reflection *reflection, int file,
                              bool marked[FILES_MAX])
{
    if (file < 0 || marked[file]) return;
    marked[file] = true;
    const file_proto *proto = reflection->set->file[file];
    for (size_t i = 0; i < proto->n_dependency; i++)
        mark_with_imports(reflection, find_file(reflection, proto->dependency[i]), marked);
}

/* ---- answers ------------------------------------------------------------------------------ */

static struct omen_payload pack(reflection_response *response)
{
    struct omen_payload payload = {0};

    payload.data =
        malloc(grpc__reflection__v1__server_reflection_response__get_packed_size(response) + 1);
    if (payload.data != NULL)
        payload.bytes =
            grpc__reflection__v1__server_reflection_response__pack(response, payload.data);
    return payload;
}

static struct omen_payload answer_error(reflection_response *response, omen_code code,
                                        const char *what, const char *name)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    char sentence[OMEN_ERROR_MAX];

    (void)snprintf(sentence, sizeof sentence, "%s: %.128s", what, name);
    error.error_code = (int32_t)code;
    error.error_message = sentence;
    response->error_response = &error;
    response->message_response_case = SAYS(ERROR_RESPONSE);
    return pack(response);
}

static struct omen_payload answer_file(const struct omen_reflection *reflection,
                                       reflection_response *response, int file, const char *name)
{
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData list[FILES_MAX];
    bool marked[FILES_MAX] = {false};

    if (file < 0) return answer_error(response, OMEN_NOT_FOUND, "nothing here is called", name);
    mark_with_imports(reflection, file, marked);
    marked[file] = false;
    list[files.n_file_descriptor_proto++] = reflection->files[file]; /* what was asked for first */
    for (size_t i = 0; i < reflection->set->n_file; i++)
        if (marked[i]) list[files.n_file_descriptor_proto++] = reflection->files[i];
    files.file_descriptor_proto = list;
    response->file_descriptor_response = &files;
    response->message_response_case = SAYS(FILE_DESCRIPTOR_RESPONSE);
    return pack(response);
}

static struct omen_payload answer_services(const struct omen_reflection *reflection,
                                           reflection_response *response)
{
    Grpc__Reflection__V1__ListServiceResponse services =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse entries[FILES_MAX];
    Grpc__Reflection__V1__ServiceResponse *list[FILES_MAX];
    char names[FILES_MAX][SYMBOL_BYTES];
    size_t count = 0;

    for (size_t i = 0; i < reflection->set->n_file; i++) {
        const file_proto *file = reflection->set->file[i];

        for (size_t j = 0; j < file->n_service && count < FILES_MAX; j++) {
            (void)snprintf(names[count], SYMBOL_BYTES, "%s.%s", file->package,
                           file->service[j]->name);
            grpc__reflection__v1__service_response__init(&entries[count]);
            entries[count].name = names[count];
            list[count] = &entries[count];
            count++;
        }
    }
    services.service = list;
    services.n_service = count;
    response->list_services_response = &services;
    response->message_response_case = SAYS(LIST_SERVICES_RESPONSE);
    return pack(response);
}

static struct omen_payload answer_extensions(const struct omen_reflection *reflection,
                                             reflection_response *response, char *type)
{
    Grpc__Reflection__V1__ExtensionNumberResponse numbers =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;

    if (find_symbol(reflection, type) < 0)
        return answer_error(response, OMEN_NOT_FOUND, "nothing here is called", type);
    numbers.base_type_name = type; /* proto3: no type has any */
    response->all_extension_numbers_response = &numbers;
    response->message_response_case = SAYS(ALL_EXTENSION_NUMBERS_RESPONSE);
    return pack(response);
}

static struct omen_payload answer(const struct omen_reflection *reflection,
                                  reflection_request *request)
{
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;

    response.valid_host = request->host;
    response.original_request = request;
    switch (request->message_request_case) {
    case ASKS(FILE_BY_FILENAME):
        return answer_file(reflection, &response, find_file(reflection, request->file_by_filename),
                           request->file_by_filename);
    case ASKS(FILE_CONTAINING_SYMBOL):
        return answer_file(reflection, &response,
                           find_symbol(reflection, request->file_containing_symbol),
                           request->file_containing_symbol);
    case ASKS(FILE_CONTAINING_EXTENSION):
        return answer_error(&response, OMEN_NOT_FOUND, "nothing here extends",
                            request->file_containing_extension->containing_type);
    case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
        return answer_extensions(reflection, &response, request->all_extension_numbers_of_type);
    case ASKS(LIST_SERVICES):
        return answer_services(reflection, &response);
    default:
        return answer_error(&response, OMEN_INVALID_ARGUMENT, "the request asks nothing", "");
    }
}

/* ---- the stream --------------------------------------------------------------------------- */

static void start(omen_call *call, omen_message *request)
{
    (void)request;
    omen_call_read(call);
}

static void message_came(omen_call *call, omen_message *message)
{
    const struct omen_reflection *reflection = omen_service_reflection(omen_call_context(call));
    struct omen_fault fault = {0};
    struct omen_payload payload = {0};
    reflection_request *request = NULL;

    if (message == NULL) {
        omen_call_finish(call, OMEN_OK, "", payload);
        return;
    }
    uint8_t *bytes = omen_message_flatten(message);
    if (bytes != NULL)
        request = grpc__reflection__v1__server_reflection_request__unpack(
            NULL, omen_message_bytes(message), bytes);
    if (request == NULL) {
        (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "%zu bytes are not a valid ServerReflectionRequest",
                             omen_message_bytes(message));
        omen_reply_fault(call, &fault);
    } else {
        payload = answer(reflection, request);
        if (payload.data != NULL)
            omen_call_write(call, payload);
        else
            omen_reply_payload(call, payload); /* says that there is no memory */
    }
    grpc__reflection__v1__server_reflection_request__free_unpacked(request, NULL);
    free(bytes);
    omen_message_destroy(message);
}

static void written(omen_call *call, bool delivered)
{
    if (delivered) omen_call_read(call);
}

static void closed(omen_call *call)
{
    (void)call;
}

const struct omen_method omen_method_reflection = {
    .path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    .stream = true,
    .start = start,
    .message = message_came,
    .written = written,
    .closed = closed};

const struct omen_method omen_method_reflection_v1alpha = {
    .path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    .stream = true,
    .start = start,
    .message = message_came,
    .written = written,
    .closed = closed};
