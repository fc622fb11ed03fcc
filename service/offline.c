/* offline.c - see offline.h. */
#include "service/offline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

enum { EXIT_BAD_CALL = 2 };

static const char usage[] =
    "usage: omendb-server verify --data-dir DIR\n"
    "         checks logs, checkpoints, originals and snapshots; changes nothing\n"
    "       omendb-server recover --data-dir DIR --to NEW_DIR\n"
    "         writes what is whole in DIR into NEW_DIR, and lists what is not\n"
    "Stop the server first. The exit status is 0 if all is well and 1 if there is damage.\n";

bool omen_offline_knows(const char *command)
{
    return strcmp(command, "verify") == 0 || strcmp(command, "recover") == 0;
}

static void tell(void *user, bool damage, const char *sentence)
{
    (void)user;
    (void)printf("%s%s\n", damage ? "DAMAGED " : "", sentence);
}

/* --name VALUE or --name=VALUE at argv[*at]; moves on behind it. */
static const char *flag_value(int argc, char **argv, const char *name, int *at)
{
    const size_t length = strlen(name);
    const char *given = argv[*at];

    if (strncmp(given, name, length) != 0) return NULL;
    if (given[length] == '=') return given + length + 1;
    if (given[length] != '\0' || *at + 1 >= argc) return NULL;
    return argv[++*at];
}

static int run(bool recover, const char *data_dir, const char *to)
{
    struct omen_offline_report report = {0};
    omen_error error = {0};
    const omen_code code = recover ? omen_offline_recover(data_dir, to, tell, NULL, &report, &error)
                                   : omen_offline_verify(data_dir, tell, NULL, &report, &error);

    (void)printf("%" PRIu32 " collections, %" PRIu32 " checkpoints, %" PRIu32 " snapshots, %" PRIu64
                 " records, %" PRIu64 " bytes: ",
                 report.collections, report.checkpoints, report.snapshots, report.records,
                 report.bytes);
    if (code == OMEN_OK)
        (void)printf("ok\n");
    else
        (void)printf("%s\n", error.message);
    return code == OMEN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int omen_offline_main(int argc, char **argv)
{
    const bool recover = strcmp(argv[1], "recover") == 0;
    const char *data_dir = NULL;
    const char *to = NULL;

    for (int i = 2; i < argc; i++) {
        const char *value = flag_value(argc, argv, "--data-dir", &i);

        if (value != NULL) {
            data_dir = value;
            continue;
        }
        value = recover ? flag_value(argc, argv, "--to", &i) : NULL;
        if (value == NULL) {
            (void)fprintf(stderr, "omendb-server %s: what is %s?\n%s", argv[1], argv[i], usage);
            return EXIT_BAD_CALL;
        }
        to = value;
    }
    if (data_dir == NULL || (recover && to == NULL)) {
        (void)fprintf(stderr, "omendb-server %s: %s is missing\n%s", argv[1],
                      data_dir == NULL ? "--data-dir" : "--to", usage);
        return EXIT_BAD_CALL;
    }
    return run(recover, data_dir, to);
}
