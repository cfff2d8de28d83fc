/*
 * Which files a program opens to start. The dynamic loader itself says which libraries it would
 * load ("--list": the program is not executed). The answer is remembered, a line for each file that
 * it depends on: those of the list, the loader's own cache, and those that were looked for and were
 * not there. It holds while every one of them is as it was. What is remembered is only names:
 * whoever could write them could write the caller's other files too (the cache belongs to the
 * caller).
 */
#include "jail/jail.h"

#include "common/buf.h"
#include "common/fs.h"
#include "common/memo.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.jail"
#define FILES_MAX 512
#define TEXT_MAX 65536
/* How a remembered line begins: a file of the list, or one that is only looked at. */
#define LISTED '+'
#define WATCHED '-'

/* What else the loader's answer depends on. */
static const char loader_cache[] = "/etc/ld.so.cache";
/* Beside libraries: TCG is a module of QEMU's. */
static const char *const modules[] = {"qemu/accel-tcg-x86_64.so"};
/* What -M microvm loads, of the directories of data beside the program. */
static const char *const data_directories[] = {"share/qemu", "share/seabios"};
static const char *const firmware[] = {"qboot.rom",        "bios-microvm.bin",  "pvh.bin",
                                       "linuxboot.bin",    "linuxboot_dma.bin", "multiboot.bin",
                                       "multiboot_dma.bin"};

/* Adds a path, once. */
static bool add(struct jail_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->paths[i], path) == 0)
            return true;
    if (files->count == FILES_MAX)
        return false;
    char *copy = strdup(path);
    char **grown = realloc(files->paths, (files->count + 1) * sizeof *grown);
    if (grown != NULL)
        files->paths = grown;
    if (copy == NULL || grown == NULL) {
        free(copy);
        return false;
    }
    files->paths[files->count++] = copy;
    return true;
}

void jail_files_free(struct jail_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    *files = (struct jail_files){0};
}

/* The loader a program asks for (ELF, PT_INTERP). 1: there is one; 0: a program without; -1: not a
 * program we know. */
static int find_loader(const char *program, char *loader, size_t size)
{
    sr_cleanup_fd int fd = open(program, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr header;
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return -1;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        off_t at = (off_t)(header.e_phoff + i * sizeof segment);
        if (pread(fd, &segment, sizeof segment, at) != (ssize_t)sizeof segment)
            return -1;
        if (segment.p_type != PT_INTERP)
            continue;
        if (segment.p_filesz < 2 || segment.p_filesz > size ||
            pread(fd, loader, segment.p_filesz, (off_t)segment.p_offset) !=
                (ssize_t)segment.p_filesz ||
            loader[segment.p_filesz - 1] != '\0' || loader[0] != '/')
            return -1;
        return 1;
    }
    return 0;
}

/* Runs "loader --list object" and takes its output. */
static int ask_loader(const char *loader, const char *object, struct sr_buf *text)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        char *const argv[] = {(char *)loader, "--list", (char *)object, NULL};
        char *const environment[] = {NULL};
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0 &&
            dup2(pair[1], STDOUT_FILENO) >= 0)
            execve(loader, argv, environment);
        _exit(127);
    }
    close(pair[1]);
    char piece[4096];
    ssize_t got;
    while (pid > 0 && text->len < TEXT_MAX &&
           ((got = read(pair[0], piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR)))
        if (got > 0)
            sr_buf_append(text, piece, (size_t)got);
    close(pair[0]);
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && status == 0 && sr_buf_ok(text) ? 0 : -EIO;
}

/* Lines "name => /path (0x...)" and "/path (0x...)": adds the paths. */
static bool add_listed(struct jail_files *files, char *text)
{
    char *state;
    for (char *line = strtok_r(text, "\n", &state); line != NULL;
         line = strtok_r(NULL, "\n", &state)) {
        char *arrow = strstr(line, "=> "), *path = arrow != NULL ? arrow + 3 : line;
        path += strspn(path, " \t");
        path[strcspn(path, " ")] = '\0';
        if (path[0] == '/' && !add(files, path))
            return false;
    }
    return true;
}

static bool add_with_libraries(struct jail_files *files, const char *loader, const char *object)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (!add(files, object) || ask_loader(loader, object, &text) < 0)
        return false;
    return sr_buf_ok(&text) && add_listed(files, text.data);
}

static bool add_modules(struct jail_files *files, struct jail_files *watched, const char *loader)
{
    for (size_t m = 0; m < sizeof modules / sizeof modules[0]; m++)
        for (size_t i = 0, count = files->count; i < count; i++) {
            char path[PATH_MAX], real[PATH_MAX];
            int directory = (int)(strrchr(files->paths[i], '/') - files->paths[i]);
            if (snprintf(path, sizeof path, "%.*s/%s", directory, files->paths[i], modules[m]) >=
                (int)sizeof path)
                continue;
            if (realpath(path, real) != NULL) { /* QEMU knows it by /usr/lib, the loader by /lib */
                if (!add_with_libraries(files, loader, real))
                    return false;
                break;
            }
            if (!add(watched, path))
                return false;
        }
    return true;
}

static bool add_firmware(struct jail_files *files, struct jail_files *watched, const char *program)
{
    char prefix[PATH_MAX], path[PATH_MAX];
    snprintf(prefix, sizeof prefix, "%s", program);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(prefix, '/');
        if (slash == NULL)
            return true;
        *slash = '\0';
    }
    for (size_t d = 0; d < sizeof data_directories / sizeof data_directories[0]; d++)
        for (size_t f = 0; f < sizeof firmware / sizeof firmware[0]; f++)
            if (snprintf(path, sizeof path, "%s/%s/%s", prefix, data_directories[d], firmware[f]) <
                    (int)sizeof path &&
                !add(access(path, R_OK) == 0 ? files : watched, path))
                return false;
    return true;
}

static int find(const char *program, bool vmm, struct jail_files *files, struct jail_files *watched,
                struct sr_error *err)
{
    char loader[256];
    int dynamic = find_loader(program, loader, sizeof loader);
    if (dynamic < 0)
        return sr_fail(err, SR_RUN_002, PATH,
                       "%s is not a program of this machine (64-bit ELF), so its files cannot be "
                       "found%s",
                       program,
                       vmm ? "; jail.mode: none in the host configuration runs it without a jail"
                           : "");
    bool good = add(files, program) && add(watched, loader_cache) &&
                (!vmm || add_firmware(files, watched, program));
    if (good && dynamic > 0)
        good = add(files, loader) && add_with_libraries(files, loader, program) &&
               (!vmm || add_modules(files, watched, loader));
    if (!good)
        return sr_fail(err, SR_RUN_002, PATH, "%s --list %s does not tell its libraries", loader,
                       program);
    return 0;
}

/* A file's identity, or that it is not there: 1 when a later change could not go unseen, 0 when it
 * could. */
static int identify(const char *path, char text[SR_IDENTITY_TEXT])
{
    sr_cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
    int settled = fd >= 0 ? sr_file_identity(fd, text) : -1;
    if (settled < 0)
        snprintf(text, SR_IDENTITY_TEXT, "absent");
    return settled != 0;
}

/* One remembered line, "+identity:/path". */
static bool recall_file(char *line, struct jail_files *files)
{
    char is[SR_IDENTITY_TEXT], *was = line + 1, *colon = strchr(line, ':');
    if (colon == NULL || (line[0] != LISTED && line[0] != WATCHED))
        return false;
    *colon = '\0';
    identify(colon + 1, is);
    return strcmp(is, was) == 0 && (line[0] == WATCHED || add(files, colon + 1));
}

static bool recall(int cache, const char *name, const char *program, struct jail_files *files)
{
    static char text[TEXT_MAX];
    ssize_t len = sr_read_small_file(cache, name, text, sizeof text);
    if (len <= 0 || text[len - 1] != '\n')
        return false;
    char *state;
    for (char *line = strtok_r(text, "\n", &state); line != NULL;
         line = strtok_r(NULL, "\n", &state))
        if (!recall_file(line, files)) {
            jail_files_free(files);
            return false;
        }
    return files->count > 0 && strcmp(files->paths[0], program) == 0;
}

static bool describe(struct sr_buf *text, char kind, const struct jail_files *files)
{
    char identity[SR_IDENTITY_TEXT];
    for (size_t i = 0; i < files->count; i++) {
        if (!identify(files->paths[i], identity))
            return false; /* perhaps already another than the loader saw */
        sr_buf_printf(text, "%c%s:%s\n", kind, identity, files->paths[i]);
    }
    return true;
}

static void remember(int cache, const char *name, const struct jail_files *files,
                     const struct jail_files *watched)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (!describe(&text, LISTED, files) || !describe(&text, WATCHED, watched) ||
        !sr_buf_ok(&text) || text.len >= TEXT_MAX ||
        sr_replace_file(cache, name, text.data, text.len) < 0)
        return; /* the next run asks again */
}

/* Finds them into a list of their own, or takes what is remembered. */
static int find_or_recall(const char *program, bool vmm, int cache, struct jail_files *files,
                          struct sr_error *err)
{
    __attribute__((cleanup(jail_files_free))) struct jail_files watched = {0};
    char name[SR_MEMO_NAME] = "";
    struct stat st;
    bool known = cache >= 0 && stat(program, &st) == 0;
    if (known) {
        sr_memo_name("files", st.st_dev, st.st_ino, name);
        if (recall(cache, name, program, files))
            return 0;
    }
    if (find(program, vmm, files, &watched, err) < 0)
        return -1;
    if (known)
        remember(cache, name, files, &watched);
    return 0;
}

int jail_files_find(const char *program, bool vmm, int cache, struct jail_files *files,
                    struct sr_error *err)
{
    struct jail_files found = {0};
    int result = find_or_recall(program, vmm, cache, &found, err);
    for (size_t i = 0; result == 0 && i < found.count; i++)
        if (!add(files, found.paths[i]))
            result =
                sr_fail(err, SR_RUN_002, PATH, "too many files for %s, or out of memory", program);
    jail_files_free(&found);
    return result;
}
