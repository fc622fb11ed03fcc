/* config_fuzz.c - bytes as the YAML file that --config names. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static struct omen_config config;
    omen_error err = {0};
    char path[64];

    if (fd < 0) fd = memfd_create("omen.yaml", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size,
               "no file in memory: %m");
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(&config, 0, sizeof config);
    omen_code code = omen_config_file_read(path, &config, &err);
    if (code == OMEN_OK) return 0;
    fuzz_check_error(&err, code);
    FUZZ_CHECK(code == OMEN_INVALID_ARGUMENT, "code %d: %s", (int)code, err.message);
    FUZZ_CHECK(strstr(err.message, path) != NULL, "no file in: %s", err.message);
    return 0;
}
