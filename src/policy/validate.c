#include "common/fs.h"
#include "common/sha256.h"
#include "policy/check.h"

#include <string.h>

/* Ranges, with their reasons. */
enum {
    TIMEOUT_DEFAULT = 300,
    TIMEOUT_MAX = 7 * 24 * 3600, /* a week: beyond that it is a service, not a run */
    PIDS_DEFAULT = 256,
};
#define MIB (UINT64_C(1) << 20)
#define DISK_DEFAULT (64 * MIB)
#define OUTPUT_DEFAULT (64 * MIB)
/* A slow emulated guest sends 100,000 files in a minute, and a MiB in some milliseconds. */
#define OUTPUT_TIMEOUT_DEFAULT 300
#define OUTPUT_TIMEOUT_MAX 3600

static void check_metadata(struct policy_checker *checker, const struct policy_node *node,
                           const struct policy_path *root, const struct policy_node *document)
{
    static const char *const known[] = {"name", "labels", NULL};
    const struct policy_path path = {root, "metadata", 0}, name = {&path, "name", 0},
                             labels = {&path, "labels", 0};
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_map(checker, node, &path, known, true, document))
        return;
    policy->name = policy_field_text(checker, policy_node_get(node, "name"), &name, true, node);
    const struct policy_node *value = policy_node_get(node, "labels");
    if (value != NULL)
        policy_field_pairs(checker, value, &labels, "", &policy->labels, &policy->label_count);
}

static void check_args(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, const struct policy_node *runtime)
{
    if (!policy_field_list(checker, node, path, true, runtime))
        return;
    const char **args = policy_arena_alloc(&checker->arena, node->count * sizeof *args);
    if (args == NULL) {
        checker->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < node->count; i++)
        args[i] =
            policy_field_any_text(checker, node->items[i], &(struct policy_path){path, NULL, i});
    checker->policy.args = args;
    checker->policy.arg_count = node->count;
}

/* "uid" or "uid:gid", numeric. */
static void check_user(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path)
{
    const char *text = policy_field_text(checker, node, path, true, node);
    if (text == NULL)
        return;
    uint64_t ids[2] = {0, 0};
    const char *at = text;
    int count = 0;
    bool good = true;
    do {
        size_t digits = strspn(at, "0123456789");
        /* uid_t's -1 means "unchanged" to the kernel. */
        good = digits > 0 && digits <= 10 && (digits == 1 || at[0] != '0') &&
               (ids[count] = strtoull(at, NULL, 10)) < UINT32_MAX;
        at += digits;
        count++;
    } while (good && count < 2 && *at == ':' && *++at != '\0');
    if (!good || *at != '\0' || (at > text && at[-1] == ':')) {
        policy_check_error(checker, SR_POL_002, path, node,
                           "must be a numeric \"uid\" or \"uid:gid\"");
        return;
    }
    checker->policy.uid = (uint32_t)ids[0];
    checker->policy.gid = (uint32_t)(count == 2 ? ids[1] : ids[0]);
    if (checker->policy.uid == 0)
        policy_check_warn(checker, SR_POL_002, path, node,
                          "the command runs as root inside the guest");
}

/* A name or path, perhaps pinned to a digest. */
static void check_image(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path, const struct policy_node *place,
                        const struct policy_mount_allowlist *allowlist)
{
    const char *text = policy_field_text(checker, node, path, true, place);
    const char *at = text != NULL ? strrchr(text, '@') : NULL;
    if (at != NULL && strchr(at, '/') == NULL && !sr_is_sha256(at + 1)) {
        policy_check_error(checker, SR_POL_002, path, node,
                           "must be pinned as NAME@sha256:<64 hex digits>");
        policy_check_hint(checker, "'safe-run image inspect NAME' shows the digest");
        at = NULL;
    }
    checker->policy.image = text;
    if (text == NULL || strchr(text, '/') == NULL)
        return;
    bool pinned = at != NULL && strchr(at, '/') == NULL;
    const char *file =
        policy_arena_text(&checker->arena, text, pinned ? (size_t)(at - text) : strlen(text));
    if (file == NULL) {
        checker->out_of_memory = true;
        return;
    }
    struct sr_mount found;
    policy_check_host_file(checker, node, path, file, allowlist, &found);
    checker->policy.image_fd = found.fd;
}

static const char *normal_path(struct policy_checker *checker, const char *text)
{
    const char *path = policy_path_normalize(&checker->arena, text);
    checker->out_of_memory = checker->out_of_memory || path == NULL;
    return path;
}

static void check_runtime(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *root, const struct policy_node *document,
                          const struct policy_mount_allowlist *allowlist)
{
    static const char *const known[] = {"command", "args",  "image",      "env", "workdir",
                                        "user",    "stdin", "timeoutSec", NULL};
    const struct policy_path path = {root, "runtime", 0}, command = {&path, "command", 0},
                             args = {&path, "args", 0}, image = {&path, "image", 0},
                             env = {&path, "env", 0}, workdir = {&path, "workdir", 0},
                             user = {&path, "user", 0}, input = {&path, "stdin", 0},
                             timeout = {&path, "timeoutSec", 0};
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_map(checker, node, &path, known, true, document))
        return;
    const struct policy_node *program = policy_node_get(node, "command");
    policy->command = policy_field_text(checker, program, &command, true, node);
    if (policy->command != NULL && policy->command[strcspn(policy->command, " \t")] != '\0')
        policy_check_warn(checker, SR_POL_002, &command, program,
                          "names one program, blanks and all; arguments belong in runtime.args");
    check_args(checker, policy_node_get(node, "args"), &args, node);
    const struct policy_node *value = policy_node_get(node, "image");
    if (value != NULL)
        check_image(checker, value, &image, node, allowlist);
    value = policy_node_get(node, "env");
    if (value != NULL)
        policy_check_env(checker, value, &env, allowlist);
    value = policy_node_get(node, "workdir");
    const char *text =
        value != NULL ? policy_field_text(checker, value, &workdir, true, node) : NULL;
    const char *fault = text != NULL ? policy_path_fault(text) : NULL;
    if (fault != NULL)
        policy_check_error(checker, SR_POL_002, &workdir, value, "%s", fault);
    else if (text != NULL)
        policy->workdir = text;
    policy->workdir_given = text != NULL;
    value = policy_node_get(node, "user");
    policy->user_given = value != NULL;
    if (value != NULL)
        check_user(checker, value, &user);
    value = policy_node_get(node, "stdin");
    text = value != NULL ? policy_field_text(checker, value, &input, true, node) : NULL;
    fault = text != NULL ? policy_path_fault(text) : NULL;
    if (fault != NULL)
        policy_check_error(checker, SR_POL_002, &input, value, "%s", fault);
    else if (text != NULL)
        policy->stdin_path = normal_path(checker, text);
    uint64_t seconds;
    value = policy_node_get(node, "timeoutSec");
    if (value != NULL &&
        policy_field_integer(checker, value, &timeout, SR_POL_002, 1, TIMEOUT_MAX, &seconds))
        policy->timeout_sec = (uint32_t)seconds;
}

/* Where an output may lie: nowhere that is the guest system's own state, not in what is mounted
 * read-only, and not in another output. */
static void check_output_path(struct policy_checker *checker, const struct policy_node *node,
                              const struct policy_path *path, struct sr_output *outputs,
                              size_t index)
{
    static const char *const never[] = {"/proc", "/sys", "/dev"};
    const struct sr_policy *policy = &checker->policy;
    const char *text = policy_field_text(checker, node, path, true, node);
    if (text == NULL)
        return;
    const char *fault = policy_path_fault(text);
    if (fault != NULL) {
        policy_check_error(checker, SR_POL_002, path, node, "%s", fault);
        return;
    }
    const char *place = normal_path(checker, text);
    if (place == NULL)
        return;
    bool is_system = strcmp(place, "/") == 0;
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        is_system = is_system || sr_path_within(place, never[i]);
    if (is_system)
        policy_check_error(
            checker, SR_POL_002, path, node,
            "%.100s is the guest's system, not an output; name a directory of results", place);
    for (size_t j = 0; j < policy->mount_count; j++)
        if (policy->mounts[j].target != NULL && sr_path_within(place, policy->mounts[j].target))
            policy_check_error(checker, SR_POL_003, path, node,
                               "lies inside mounts[%zu], which is read-only", j);
    for (size_t j = 0; j < index; j++)
        if (outputs[j].path != NULL &&
            (sr_path_within(place, outputs[j].path) || sr_path_within(outputs[j].path, place))) {
            policy_check_error(checker, SR_POL_003, path, node, "overlaps outputs[%zu]", j);
            break;
        }
    outputs[index].path = place;
}

static void check_outputs(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *root)
{
    static const char *const known[] = {"path", "max", "timeoutSec", NULL};
    const struct policy_path path = {root, "outputs", 0};
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_list(checker, node, &path, false, NULL) ||
        !policy_field_at_most(checker, node, &path, SR_OUTPUTS_MAX))
        return;
    struct sr_output *outputs = policy_arena_alloc(&checker->arena, node->count * sizeof *outputs);
    if (outputs == NULL) {
        checker->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct policy_path item = {&path, NULL, i}, where = {&item, "path", 0},
                                 max = {&item, "max", 0}, timeout = {&item, "timeoutSec", 0};
        const struct policy_node *entry = node->items[i];
        uint64_t seconds;
        outputs[i] = (struct sr_output){
            .max = "64Mi", .max_bytes = OUTPUT_DEFAULT, .timeout_sec = OUTPUT_TIMEOUT_DEFAULT};
        if (!policy_field_map(checker, entry, &item, known, true, node))
            continue;
        const struct policy_node *value = policy_node_get(entry, "path");
        if (value == NULL)
            policy_check_error(checker, SR_POL_001, &where, entry, "this field is required");
        else
            check_output_path(checker, value, &where, outputs, i);
        value = policy_node_get(entry, "max");
        if (value != NULL)
            outputs[i].max =
                policy_field_size(checker, value, &max, true, false, entry, &outputs[i].max_bytes);
        value = policy_node_get(entry, "timeoutSec");
        if (value != NULL && policy_field_integer(checker, value, &timeout, SR_POL_002, 1,
                                                  OUTPUT_TIMEOUT_MAX, &seconds))
            outputs[i].timeout_sec = (uint32_t)seconds;
    }
    policy->outputs = outputs;
    policy->output_count = node->count;
    if (node->count > 0 && policy->disk_bytes == 0)
        policy_check_error(
            checker, SR_POL_003, &path, node,
            "needs resources.disk.max above 0: nothing can be written to a read-only "
            "root");
}

static void check_audit(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *root)
{
    static const char *const known[] = {"level", NULL}, *const levels[] = {"basic", "full", NULL};
    const struct policy_path path = {root, "audit", 0}, level = {&path, "level", 0};
    if (!policy_field_map(checker, node, &path, known, false, NULL))
        return;
    int choice = policy_field_choice(checker, policy_node_get(node, "level"), &level, levels,
                                     SR_POL_002, false, node);
    checker->policy.audit_level = choice == 1 ? SR_AUDIT_FULL : SR_AUDIT_BASIC;
}

static void check_require(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *root)
{
    static const char *const known[] = {"accel", "limits", "signature", NULL},
                             *const accels[] = {"any", "kvm", NULL},
                             *const limits[] = {"any", "enforced", NULL};
    const struct policy_path path = {root, "require", 0}, accel = {&path, "accel", 0},
                             limit = {&path, "limits", 0}, signature = {&path, "signature", 0};
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_map(checker, node, &path, known, false, NULL))
        return;
    const struct policy_node *value = policy_node_get(node, "accel");
    if (value != NULL)
        policy->require_kvm =
            policy_field_choice(checker, value, &accel, accels, SR_POL_002, true, node) == 1;
    value = policy_node_get(node, "limits");
    if (value != NULL)
        policy->require_limits =
            policy_field_choice(checker, value, &limit, limits, SR_POL_002, true, node) == 1;
    value = policy_node_get(node, "signature");
    if (value != NULL)
        policy_field_bool(checker, value, &signature, &policy->require_signature);
}

void policy_check_document(struct policy_checker *checker, const struct policy_node *root,
                           const struct policy_mount_allowlist *allowlist)
{
    static const char *const known[] = {"apiVersion", "metadata", "runtime", "resources", "network",
                                        "mounts",     "outputs",  "audit",   "require",   NULL},
                             *const versions[] = {SR_POLICY_API_VERSION, NULL};
    checker->policy = (struct sr_policy){
        .granted = checker->policy.granted,
        .granted_count = checker->policy.granted_count,
        .allowed_env = checker->policy.allowed_env,
        .allowed_env_count = checker->policy.allowed_env_count,
        .image = "base",
        .image_fd = -1,
        .workdir = "/",
        .uid = 1000,
        .gid = 1000,
        .timeout_sec = TIMEOUT_DEFAULT,
        .pids_max = PIDS_DEFAULT,
        .disk_max = "64Mi",
        .disk_bytes = DISK_DEFAULT,
    };
    if (!policy_field_map(checker, root, NULL, known, true, root))
        return;
    const struct policy_path version = {NULL, "apiVersion", 0};
    policy_field_choice(checker, policy_node_get(root, "apiVersion"), &version, versions,
                        SR_POL_002, true, root);
    check_metadata(checker, policy_node_get(root, "metadata"), NULL, root);
    check_runtime(checker, policy_node_get(root, "runtime"), NULL, root, allowlist);
    policy_check_resources(checker, policy_node_get(root, "resources"), NULL, root);
    policy_check_network(checker, policy_node_get(root, "network"), NULL, root);
    policy_check_mounts(checker, policy_node_get(root, "mounts"), NULL, allowlist);
    if (policy_node_get(root, "outputs") != NULL)
        check_outputs(checker, policy_node_get(root, "outputs"), NULL);
    check_audit(checker, policy_node_get(root, "audit"), NULL);
    if (policy_node_get(root, "require") != NULL)
        check_require(checker, policy_node_get(root, "require"), NULL);
}
