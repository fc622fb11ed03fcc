/* replay.c - runs a target on files, without a fuzzer: what ctest runs, in every build.
 *
 *     insert_replay FOLDER [FOLDER or FILE]...
 *
 * The first must be there and hold inputs: nothing replayed is no success. Each name is told before
 * the run, so that the last one is the input that a crash is about.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static void run_file(const char *path, off_t size)
{
    uint8_t *data = malloc(size == 0 ? 1 : (size_t)size); /* exact, for the sanitizers */
    FILE *file = fopen(path, "rbe");

    FUZZ_CHECK(data != NULL && file != NULL, "cannot read %s: %m", path);
    FUZZ_CHECK(fread(data, 1, (size_t)size, file) == (size_t)size, "cannot read %s", path);
    (void)fclose(file);
    (void)fprintf(stderr, "%s\n", path);
    FUZZ_CHECK(LLVMFuzzerTestOneInput(data, (size_t)size) == 0, "%s: not 0", path);
    free(data);
}

/* A file, or the files of a folder in the order of their names. Returns how many. */
static size_t run_path(const char *path)
{
    struct dirent **entries = NULL;
    struct stat status;
    size_t total = 0;

    if (stat(path, &status) != 0) {
        FUZZ_CHECK(errno == ENOENT, "%s: %m", path);
        return 0;
    }
    if (S_ISREG(status.st_mode)) {
        run_file(path, status.st_size);
        return 1;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    FUZZ_CHECK(count >= 0, "%s: %m", path);
    for (int i = 0; i < count; i++) {
        char child[4096];

        (void)snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') total += run_path(child);
        free(entries[i]);
    }
    free(entries);
    return total;
}

int main(int argc, char **argv)
{
    size_t total = 0;

    for (int i = 1; i < argc; i++) {
        size_t count = run_path(argv[i]);

        if (i == 1 && count == 0) {
            (void)fprintf(stderr, "no inputs in %s\n", argv[i]);
            return 1;
        }
        total += count;
    }
    if (argc < 2) (void)fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
    (void)printf("%zu inputs replayed\n", total);
    return argc < 2;
}
