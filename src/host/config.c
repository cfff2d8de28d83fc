#include "host/host.h"

#include "common/ipv4.h"
#include "common/timestamp.h"
#include "policy/document.h"
#include "saferun/policy.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* How long a guest may take to say hello. It takes half a second; twenty at once on two busy cores
 * take ten. */
#define BOOT_TIMEOUT_SEC 60
#define COLLECT_TIMEOUT_SEC 3600
/* Names are not asked for more often, whatever their TTL. */
#define REFRESH_MIN_SEC 30
/* Of the some 28,000 ports that a host gives to its own connections. */
#define FLOWS_MAX 512
/* Above what distributions, systemd (61184-65519, 524288-1879048191) and subuid files give out. */
#define UIDS_FIRST 2000000000u
#define LOGS_MAX (64u * 1024u * 1024u)
/* Packed inputs: a few data sets; copies: a few root images. */
#define INPUTS_MAX (UINT64_C(10) << 30)
#define COPIES_MAX (UINT64_C(10) << 30)

/* Where the artefacts lie: beside the program in a build tree, in ../lib/safe-run of an
 * installation, else where this build was told it would be installed. */
static void find_artifacts(char dir[PATH_MAX])
{
    static const char *const places[] = {"artifacts", "../lib/safe-run"};
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    snprintf(dir, PATH_MAX, "%s", SR_LIBDIR);
    if (len <= 0)
        return;
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char candidate[PATH_MAX];
        struct stat st;
        if (snprintf(candidate, sizeof candidate, "%s/%s", self, places[i]) <
                (int)sizeof candidate &&
            stat(candidate, &st) == 0 && S_ISDIR(st.st_mode)) {
            memcpy(dir, candidate, sizeof candidate);
            return;
        }
    }
}

static void set_defaults(struct host_config *config)
{
    char dir[PATH_MAX];
    find_artifacts(dir);
    *config = (struct host_config){
        .jail = true,
        .uids = {UIDS_FIRST, UIDS_FIRST + 65535},
        .accel = SR_ACCEL_CHOICE_AUTO,
        .boot_timeout_sec = BOOT_TIMEOUT_SEC,
        .collect_timeout_sec = COLLECT_TIMEOUT_SEC,
        .logs_max = LOGS_MAX,
        .inputs_max = INPUTS_MAX,
        .copies_max = COPIES_MAX,
        .refresh_min_sec = REFRESH_MIN_SEC,
        .flows_max = FLOWS_MAX,
    };
    host_ceilings_default(&config->ceilings);
    snprintf(config->archive.retention, sizeof config->archive.retention, SR_ARCHIVE_RETENTION);
    snprintf(config->qemu, sizeof config->qemu, "/usr/bin/qemu-system-x86_64");
    snprintf(config->nft, sizeof config->nft, "/usr/sbin/nft");
    snprintf(config->pasta, sizeof config->pasta, "/usr/bin/pasta");
    snprintf(config->kernel, sizeof config->kernel, "%s/vmlinux", dir);
    snprintf(config->initrd, sizeof config->initrd, "%s/initrd.img", dir);
    snprintf(config->images, sizeof config->images, "%s/images", dir);
}

static bool find_file(char path[PATH_MAX])
{
    const char *named = getenv("SAFE_RUN_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME"),
               *home = getenv("HOME");
    if (named != NULL && named[0] != '\0')
        return snprintf(path, PATH_MAX, "%s", named) < PATH_MAX; /* named, so it must be there */
    if (xdg != NULL && xdg[0] == '/' &&
        snprintf(path, PATH_MAX, "%s/safe-run/config.yaml", xdg) < PATH_MAX &&
        access(path, F_OK) == 0)
        return true;
    if ((xdg == NULL || xdg[0] != '/') && home != NULL && home[0] == '/' &&
        snprintf(path, PATH_MAX, "%s/.config/safe-run/config.yaml", home) < PATH_MAX &&
        access(path, F_OK) == 0)
        return true;
    snprintf(path, PATH_MAX, "/etc/safe-run/config.yaml");
    return access(path, F_OK) == 0;
}

/* One field: where its text goes, or how it is read. */
struct config_field {
    const char *name;
    int (*read)(const char *text, void *to);
    size_t offset;
};

static int read_path(const char *text, void *to)
{
    if (text[0] != '/')
        return -1;
    return snprintf(to, PATH_MAX, "%s", text) < PATH_MAX ? 0 : -1;
}

/* "a.b.c.d" or "a.b.c.d:port". */
static int read_resolver(const char *text, void *to)
{
    uint32_t address;
    const char *rest = sr_ipv4_parse(text, &address);
    if (rest == NULL)
        return -1;
    if (*rest != '\0') {
        size_t digits = strspn(rest + 1, "0123456789");
        unsigned long port = strtoul(rest + 1, NULL, 10);
        if (*rest != ':' || digits == 0 || rest[1 + digits] != '\0' || port < 1 || port > 65535)
            return -1;
    }
    return snprintf(to, 64, "%s", text) < 64 ? 0 : -1;
}

/* "pasta" or "bridge:<interface>". */
static int read_uplink(const char *text, void *to)
{
    static const char prefix[] = "bridge:";
    const char *name = text;
    if (strcmp(text, "pasta") == 0)
        name = "";
    else if (strncmp(text, prefix, strlen(prefix)) == 0 && text[strlen(prefix)] != '\0')
        name = text + strlen(prefix);
    else
        return -1;
    return strchr(name, '/') == NULL && snprintf(to, 16, "%s", name) < 16 ? 0 : -1;
}

/* "a.b.c.d/n", one address, or "a.b.c.d-a.b.c.e/n", as many as runs may be on the bridge at
 * once. */
static int read_addresses(const char *text, void *to)
{
    struct net_pool *pool = to;
    const char *rest = sr_ipv4_parse(text, &pool->first);
    pool->last = pool->first;
    if (rest != NULL && *rest == '-')
        rest = sr_ipv4_parse(rest + 1, &pool->last);
    if (rest == NULL || *rest != '/' || strspn(rest + 1, "0123456789") != strlen(rest + 1) ||
        strlen(rest + 1) < 1 || strlen(rest + 1) > 2)
        return -1;
    unsigned long prefix = strtoul(rest + 1, NULL, 10);
    uint32_t mask = sr_ipv4_mask((unsigned)prefix);
    if (prefix < 1 || prefix > 30 || pool->first > pool->last ||
        pool->last - pool->first >= NET_POOL_MAX || ((pool->first ^ pool->last) & mask) != 0 ||
        (pool->first & ~mask) == 0 || (pool->last & ~mask) == ~mask)
        return -1;
    pool->prefix = (uint8_t)prefix;
    return 0;
}

static int read_gateway(const char *text, void *to)
{
    const char *rest = sr_ipv4_parse(text, to);
    return rest != NULL && *rest == '\0' ? 0 : -1;
}

static int read_jail(const char *text, void *to)
{
    *(bool *)to = strcmp(text, "required") == 0;
    return *(bool *)to || strcmp(text, "none") == 0 ? 0 : -1;
}

/* "first-last"; 0 is not an id for anybody's guest. */
static int read_uids(const char *text, void *to)
{
    struct host_uid_range *range = to;
    unsigned long values[2];
    for (int i = 0; i < 2; i++) {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 10 || text[digits] != (i == 0 ? '-' : '\0'))
            return -1;
        values[i] = strtoul(text, NULL, 10);
        text += digits + 1;
    }
    if (values[0] == 0 || values[0] > values[1] || values[1] >= UINT32_MAX)
        return -1;
    *range = (struct host_uid_range){(uint32_t)values[0], (uint32_t)values[1]};
    return 0;
}

static int read_accel(const char *text, void *to)
{
    static const char *const names[] = {[SR_ACCEL_CHOICE_AUTO] = "auto",
                                        [SR_ACCEL_CHOICE_KVM] = "kvm",
                                        [SR_ACCEL_CHOICE_TCG] = "tcg"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *(enum sr_accel_choice *)to = (enum sr_accel_choice)i;
            return 0;
        }
    return -1;
}

/* A number of 1..max. */
static int read_number(const char *text, unsigned long max, void *to)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long value = strtoul(text, NULL, 10);
    if (digits == 0 || digits > 5 || text[digits] != '\0' || value < 1 || value > max)
        return -1;
    *(uint32_t *)to = (uint32_t)value;
    return 0;
}

static int read_seconds(const char *text, void *to)
{
    return read_number(text, 3600, to);
}

static int read_flows(const char *text, void *to)
{
    return read_number(text, NET_FLOWS_MAX, to);
}

static int read_size(const char *text, void *to)
{
    size_t digits = strspn(text, "0123456789");
    static const char *const units[] = {"Ki", "Mi", "Gi"};
    for (int i = 0; i < 3; i++)
        if (digits > 0 && digits <= 6 && strcmp(text + digits, units[i]) == 0) {
            *(uint64_t *)to = strtoull(text, NULL, 10) << (10 * (i + 1));
            return 0;
        }
    return -1;
}

static int read_bool(const char *text, void *to)
{
    *(bool *)to = strcmp(text, "true") == 0;
    return *(bool *)to || strcmp(text, "false") == 0 ? 0 : -1;
}

static int read_retention(const char *text, void *to)
{
    int64_t seconds;
    if (!sr_duration_parse(text, &seconds) && strcmp(text, "forever") != 0)
        return -1;
    return snprintf(to, 16, "%s", text) < 16 ? 0 : -1;
}

/* Of a variable; one more of a list. */
static int read_name(const char *text, void *to)
{
    size_t len = strlen(to);
    return sr_secret_name_ok(text) && snprintf((char *)to + len, SR_ENV_ALLOW_MAX - len, "%s ",
                                               text) < (int)(SR_ENV_ALLOW_MAX - len)
               ? 0
               : -1;
}

static const struct config_field fields[] = {
    {"qemu", read_path, offsetof(struct host_config, qemu)},
    {"kernel", read_path, offsetof(struct host_config, kernel)},
    {"initrd", read_path, offsetof(struct host_config, initrd)},
    {"images", read_path, offsetof(struct host_config, images)},
    {"nft", read_path, offsetof(struct host_config, nft)},
    {"pasta", read_path, offsetof(struct host_config, pasta)},
    {"jail.mode", read_jail, offsetof(struct host_config, jail)},
    {"jail.uids", read_uids, offsetof(struct host_config, uids)},
    {"network.uplink", read_uplink, offsetof(struct host_config, bridge)},
    {"network.addresses", read_addresses, offsetof(struct host_config, pool)},
    {"network.gateway", read_gateway, offsetof(struct host_config, pool.gateway)},
    {"network.refreshMinSec", read_seconds, offsetof(struct host_config, refresh_min_sec)},
    {"network.flowsMax", read_flows, offsetof(struct host_config, flows_max)},
    {"network.resolver", read_resolver, offsetof(struct host_config, resolver)},
    {"accel", read_accel, offsetof(struct host_config, accel)},
    {"bootTimeoutSec", read_seconds, offsetof(struct host_config, boot_timeout_sec)},
    {"archive.root", read_path, offsetof(struct host_config, archive.root)},
    {"archive.key", read_path, offsetof(struct host_config, archive.key)},
    {"archive.retention", read_retention, offsetof(struct host_config, archive.retention)},
    {"env.allow", read_name, offsetof(struct host_config, ceilings.env_allow)},
    {"env.key", read_path, offsetof(struct host_config, env_key)},
    {"collect.timeoutSec", read_seconds, offsetof(struct host_config, collect_timeout_sec)},
    {"logs.max", read_size, offsetof(struct host_config, logs_max)},
    {"sign", read_bool, offsetof(struct host_config, sign)},
    {"signKey", read_path, offsetof(struct host_config, sign_key)},
    {"copies.directory", read_path, offsetof(struct host_config, copies)},
    {"copies.keepMax", read_size, offsetof(struct host_config, copies_max)},
    {"inputs.directory", read_path, offsetof(struct host_config, inputs)},
    {"inputs.keepMax", read_size, offsetof(struct host_config, inputs_max)},
};

static int config_error(struct sr_error *err, const char *file, const struct policy_node *node,
                        const char *field, const char *what)
{
    char path[128];
    snprintf(path, sizeof path, "prepare.config%s%.100s", field[0] != '\0' ? "." : "", field);
    return policy_fail_at(err, SR_RUN_001, node->line, node->column, path,
                          "%s:%u:%u: %s; docs/OPERATIONS.md lists the fields", file, node->line,
                          node->column, what);
}

static const char *find_section(const char *name)
{
    static const char *const sections[] = {"archive.", "collect.", "copies.", "env.",    "inputs.",
                                           "jail.",    "limits.",  "logs.",   "network."};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        if (strlen(sections[i]) == len + 1 && strncmp(sections[i], name, len) == 0)
            return sections[i];
    return NULL;
}

static const char *text_of(const struct policy_node *value)
{
    return value->kind == POLICY_NODE_SCALAR && strlen(value->text) == value->len ? value->text
                                                                                  : NULL;
}

/* The node that cannot be used, or NULL. */
static const struct policy_node *read_value(const struct config_field *field,
                                            const struct policy_node *value,
                                            struct host_config *config)
{
    void *to = (char *)config + field->offset;
    const bool is_list = field->read == read_name; /* the only one */
    if (is_list != (value->kind == POLICY_NODE_LIST))
        return value;
    const size_t count = is_list ? value->count : 1;
    for (size_t i = 0; i < count; i++) {
        const struct policy_node *item = is_list ? value->items[i] : value;
        const char *text = text_of(item);
        if (text == NULL || field->read(text, to) < 0)
            return item;
    }
    return NULL;
}

/* Reads the fields of a map; prefix is "" or that of a section ("logs."). */
static int read_fields(struct host_config *config, const char *file, const struct policy_node *map,
                       const char *prefix, struct sr_error *err)
{
    if (map->kind == POLICY_NODE_SCALAR && map->form == POLICY_SCALAR_PLAIN && map->len == 0)
        return 0; /* "logs:" and nothing below it */
    if (map->kind != POLICY_NODE_MAP)
        return config_error(err, file, map, "", "must be a map of fields");
    size_t state = 0;
    const struct policy_node *repeated = policy_node_repeated_key(map, &state);
    if (repeated != NULL)
        return config_error(err, file, repeated, repeated->text, "this field is given twice");
    for (size_t i = 0; i < map->count; i++) {
        const struct policy_node *key = map->items[2 * i], *value = map->items[2 * i + 1];
        char name[64];
        snprintf(name, sizeof name, "%s%.40s", prefix, key->text);
        const char *section = prefix[0] == '\0' ? find_section(key->text) : NULL;
        if (section != NULL) {
            if (read_fields(config, file, value, section, err) < 0)
                return -1;
            continue;
        }
        char why[HOST_CEILING_WHY] = "this value cannot be used";
        const char *text = text_of(value);
        if (strcmp(prefix, "limits.") == 0) {
            int known =
                host_ceilings_read(&config->ceilings, key->text, text != NULL ? text : "", why);
            if (known < 0)
                return config_error(err, file, value, name, why);
            if (known > 0)
                continue;
        }
        size_t f = 0;
        while (f < sizeof fields / sizeof fields[0] && strcmp(fields[f].name, name) != 0)
            f++;
        if (f == sizeof fields / sizeof fields[0])
            return config_error(err, file, key, name, "there is no such field");
        const struct policy_node *wrong = read_value(&fields[f], value, config);
        if (wrong != NULL)
            return config_error(err, file, wrong, name, why);
    }
    return 0;
}

/* A bridge needs to be told where on it the runs are. */
static int check_bridge(const struct host_config *config, const char *file,
                        const struct policy_node *root, struct sr_error *err)
{
    const struct net_pool *pool = &config->pool;
    if (pool->prefix == 0)
        return config_error(err, file, root, "network.addresses",
                            "network.uplink is a bridge, which needs network.addresses "
                            "(192.0.2.100-192.0.2.120/24)");
    uint32_t mask = sr_ipv4_mask(pool->prefix), gateway = pool->gateway;
    if (((gateway ^ pool->first) & mask) != 0 || (gateway >= pool->first && gateway <= pool->last))
        return config_error(err, file, root, "network.gateway",
                            "network.uplink is a bridge, which needs network.gateway, in the "
                            "network of network.addresses and not one of them");
    return 0;
}

int host_config_load(struct host_config *config, struct sr_error *err)
{
    char path[PATH_MAX];
    set_defaults(config);
    if (!find_file(path))
        return 0;
    sr_cleanup_free char *text = NULL;
    size_t len;
    struct sr_error fault = {0};
    struct policy_arena arena = {0};
    struct policy_node *root;
    if (sr_policy_read_owned(path, &text, &len, &fault) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.config", "the host configuration: %s",
                       fault.message);
    if (policy_document_parse(&arena, text, len, &root, &fault) < 0) {
        policy_arena_free(&arena);
        /* Empty: every field has its default. (Memory that is out has the same code, and no
         * line.) */
        return fault.code == SR_POL_001 && fault.line > 0
                   ? 0
                   : sr_fail(err, SR_RUN_001, "prepare.config", "%s:%u: %s", path, fault.line,
                             fault.message);
    }
    int result = read_fields(config, path, root, "", err);
    if (result == 0 && config->bridge[0] != '\0')
        result = check_bridge(config, path, root, err);
    if (result == 0 && config->sign && config->sign_key[0] == '\0')
        result = config_error(err, path, root, "signKey",
                              "sign: true needs signKey, a private key (safe-run key generate)");
    policy_arena_free(&arena);
    return result;
}

int sr_host_ceilings(struct sr_ceilings *ceilings, struct sr_error *err)
{
    struct host_config config;
    if (host_config_load(&config, err) < 0)
        return -1;
    *ceilings = config.ceilings;
    return 0;
}

int sr_archive_place(const char *root, struct sr_archive_place *place, struct sr_error *err)
{
    struct host_config config;
    if (host_config_load(&config, err) < 0)
        return -1;
    *place = config.archive;
    snprintf(place->sign_key, sizeof place->sign_key, "%s", config.sign_key);
    int len = root != NULL ? snprintf(place->root, PATH_MAX, "%s", root) : 0;
    if (root != NULL ? len == 0 || len >= PATH_MAX : !host_archive_root(&config, place->root))
        return sr_fail(err, SR_OPS_301, "archive.root",
                       "there is no place for the archive: set HOME or name one with --root");
    return 0;
}
