/* methods_snapshot.c - SnapshotService's unary methods: decode, call the engine, reply. They run on
 * workers of their own, since one of them may copy gigabytes. */
#include "service/methods.h"

#include "service/control_call.h"
#include "service/reply.h"
#include "service/service.h"
#include "service/snapshots.h"

static void hand_over(omen_call *call, omen_message *request, omen_control_fn *run)
{
    omen_control_call(call, request, run, omen_service_snapshot_workers(omen_call_context(call)));
}

/* ---- CreateSnapshot ----------------------------------------------------------------------- */

static omen_code create(omen_engine *engine, const omen_message *request,
                        struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_create_snapshot wanted;
    struct omen_snapshot_info info;

    if (omen_decode_create_snapshot(request, &wanted, fault) != OMEN_OK) return fault->code;
    const omen_code code =
        omen_snapshot_create(engine, wanted.collection, wanted.name, &info, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_snapshot(&info);
    return code;
}

static void start_create(omen_call *call, omen_message *request)
{
    hand_over(call, request, create);
}

const struct omen_method omen_method_create_snapshot = {
    .path = "/omendb.v1.SnapshotService/CreateSnapshot", .start = start_create};

/* ---- ListSnapshots ------------------------------------------------------------------------ */

static omen_code list(omen_engine *engine, const omen_message *request, struct omen_payload *reply,
                      struct omen_fault *fault)
{
    struct omen_snapshot_info *infos = NULL;
    size_t count = 0;

    if (omen_decode_list_snapshots(request, fault) != OMEN_OK) return fault->code;
    const omen_code code = omen_snapshot_list(engine, &infos, &count, &fault->error);
    if (code != OMEN_OK) return code;
    *reply = omen_reply_snapshots(infos, count);
    omen_snapshot_list_free(infos);
    return OMEN_OK;
}

static void start_list(omen_call *call, omen_message *request)
{
    hand_over(call, request, list);
}

const struct omen_method omen_method_list_snapshots = {
    .path = "/omendb.v1.SnapshotService/ListSnapshots", .start = start_list};

/* ---- DeleteSnapshot ----------------------------------------------------------------------- */

static omen_code drop(omen_engine *engine, const omen_message *request, struct omen_payload *reply,
                      struct omen_fault *fault)
{
    struct omen_name_request wanted;

    if (omen_decode_delete_snapshot(request, &wanted, fault) != OMEN_OK) return fault->code;
    const omen_code code = omen_snapshot_delete(engine, wanted.name, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_empty();
    return code;
}

static void start_delete(omen_call *call, omen_message *request)
{
    hand_over(call, request, drop);
}

const struct omen_method omen_method_delete_snapshot = {
    .path = "/omendb.v1.SnapshotService/DeleteSnapshot", .start = start_delete};

/* ---- VerifySnapshot ----------------------------------------------------------------------- */

static omen_code verify(omen_engine *engine, const omen_message *request,
                        struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_name_request wanted;
    struct omen_snapshot_info info;

    if (omen_decode_verify_snapshot(request, &wanted, fault) != OMEN_OK) return fault->code;
    const omen_code code = omen_snapshot_verify(engine, wanted.name, &info, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_snapshot(&info);
    return code;
}

static void start_verify(omen_call *call, omen_message *request)
{
    hand_over(call, request, verify);
}

const struct omen_method omen_method_verify_snapshot = {
    .path = "/omendb.v1.SnapshotService/VerifySnapshot", .start = start_verify};
