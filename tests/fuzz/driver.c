/* Runs a fuzz target over files and directories of inputs, where there is no libFuzzer: the corpus
 * as an ordinary test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int failures;
static unsigned runs;

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t len = 0, cap = 0;
    while (file != NULL && !feof(file) && !ferror(file)) {
        if (len == cap) {
            cap = cap == 0 ? 4096 : cap * 2;
            uint8_t *more = realloc(data, cap);
            if (more == NULL)
                abort();
            data = more;
        }
        len += fread(data + len, 1, cap - len, file);
    }
    if (file == NULL || ferror(file)) {
        fprintf(stderr, "%s cannot be read\n", path);
        failures++;
    } else {
        /* Of the exact size, so that the sanitizers see a read beyond it. */
        uint8_t *exact = malloc(len > 0 ? len : 1);
        if (exact == NULL)
            abort();
        memcpy(exact, data, len);
        LLVMFuzzerTestOneInput(exact, len);
        free(exact);
        runs++;
    }
    if (file != NULL)
        fclose(file);
    free(data);
}

static void run_path(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        run_file(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char below[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        run_file(below);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%u inputs\n", runs);
    return failures > 0 || runs == 0;
}
