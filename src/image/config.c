#include "image/config.h"
#include "common/json_member.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct maker {
    void (*warn)(void *context, const char *text);
    void *context;
};

__attribute__((format(printf, 2, 3))) static void warn(const struct maker *maker, const char *fmt,
                                                       ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    maker->warn(maker->context, text);
}

/* A list of texts; what is none of that is left out. */
static json_t *texts(const json_t *list, bool pairs, const struct maker *maker)
{
    json_t *result = json_array(), *text;
    size_t i;
    json_array_foreach(list, i, text)
    {
        const char *value = json_string_value(text);
        const char *equals = value != NULL ? strchr(value, '=') : NULL;
        if (value != NULL && (!pairs || (equals != NULL && equals != value)))
            json_array_append(result, text);
        else
            warn(maker, "an entry of the image's configuration makes no sense and is left out");
    }
    return result;
}

/* A number of a field that is nothing but one. */
static bool parse_id(const char *text, size_t len, uint32_t *id)
{
    char digits[16];
    if (len == 0 || len > 10 || strspn(text, "0123456789") < len)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    unsigned long value = strtoul(digits, NULL, 10);
    *id = (uint32_t)value;
    return value < UINT32_MAX;
}

/* Field number index of a line "a:b:c", which ends at a newline. */
static bool field(const char *line, unsigned index, const char **text, size_t *len)
{
    for (; index > 0; index--) {
        line += strcspn(line, ":\n");
        if (*line++ != ':')
            return false;
    }
    *text = line;
    *len = strcspn(line, ":\n");
    return true;
}

/* The line of passwd or group whose field at (0: the name, 2: the number) is this; NULL: there is
 * none. */
static const char *find_line(const char *file, unsigned at, const char *wanted, size_t wanted_len)
{
    const char *text;
    size_t len;
    while (file != NULL && *file != '\0') {
        if (field(file, at, &text, &len) && len == wanted_len && memcmp(text, wanted, len) == 0)
            return file;
        file += strcspn(file, "\n");
        file += *file == '\n';
    }
    return NULL;
}

static bool line_id(const char *line, unsigned at, uint32_t *id)
{
    const char *text;
    size_t len;
    return line != NULL && field(line, at, &text, &len) && parse_id(text, len, id);
}

/* "user[:group]", each a name or a number. Without a group it is the user's own, or for a number
 * that passwd does not know, 0 as in every container engine: then the uid, because nobody asked for
 * root's group. */
static bool resolve(const char *user, const char *passwd, const char *group, uint32_t *uid,
                    uint32_t *gid)
{
    size_t len = strcspn(user, ":");
    const char *line = find_line(passwd, 0, user, len);
    if (line != NULL ? !line_id(line, 2, uid) : !parse_id(user, len, uid))
        return false;
    if (user[len] == ':' && user[len + 1] != '\0') {
        const char *name = user + len + 1;
        const char *group_line = find_line(group, 0, name, strlen(name));
        return group_line != NULL ? line_id(group_line, 2, gid) : parse_id(name, strlen(name), gid);
    }
    if (line == NULL)
        line = find_line(passwd, 2, user, len);
    if (!line_id(line, 3, gid))
        *gid = *uid;
    return true;
}

static json_t *make_user(const json_t *config, const char *passwd, const char *group,
                         const struct maker *maker)
{
    const char *user = sr_member_text(config, "User");
    uint32_t uid, gid;
    if (user == NULL || user[0] == '\0')
        return json_null();
    if (!resolve(user, passwd, group, &uid, &gid)) {
        warn(maker, "the image's user %.100s is not in its /etc/passwd and is left out", user);
        return json_null();
    }
    return json_pack("{s:s,s:I,s:I}", "name", user, "uid", (json_int_t)uid, "gid", (json_int_t)gid);
}

static json_t *make_workdir(const json_t *config, const struct maker *maker)
{
    const char *workdir = sr_member_text(config, "WorkingDir");
    if (workdir == NULL || workdir[0] == '\0')
        return json_null();
    if (workdir[0] == '/')
        return json_string(workdir);
    warn(maker, "the image's working directory is not absolute and is left out");
    return json_null();
}

json_t *image_config_make(const json_t *oci, const char *passwd, const char *group,
                          void (*tell)(void *context, const char *text), void *context,
                          struct sr_error *err)
{
    const struct maker maker = {tell, context};
    const json_t *config = json_object_get(oci, "config");
    json_t *made = json_pack(
        "{s:o,s:o,s:o,s:o,s:o}", "env", texts(json_object_get(config, "Env"), true, &maker),
        "entrypoint", texts(json_object_get(config, "Entrypoint"), false, &maker), "cmd",
        texts(json_object_get(config, "Cmd"), false, &maker), "workdir",
        make_workdir(config, &maker), "user", make_user(config, passwd, group, &maker));
    size_t size = made == NULL ? 0 : json_dumpb(made, NULL, 0, JSON_COMPACT);
    if (size > 0 && size <= IMAGE_CONFIG_MAX)
        return made;
    json_decref(made);
    sr_fail(err, SR_OPS_107, "image.source", "the image's configuration has %zu bytes; %d fit",
            size, IMAGE_CONFIG_MAX);
    return NULL;
}

static bool take_texts(const json_t *list, const char ***texts_out, size_t *count)
{
    size_t size = json_array_size(list);
    if (!json_is_array(list))
        return false;
    const char **found = malloc((size > 0 ? size : 1) * sizeof *found);
    for (size_t i = 0; found != NULL && i < size; i++) {
        found[i] = json_string_value(json_array_get(list, i));
        if (found[i] == NULL) {
            free(found);
            return false;
        }
    }
    *texts_out = found;
    *count = size;
    return found != NULL;
}

static bool take_id(const json_t *object, const char *name, uint32_t *id)
{
    uint64_t number;
    if (!sr_member_number(object, name, UINT32_MAX - 1, &number))
        return false;
    *id = (uint32_t)number;
    return true;
}

int image_config_take(const json_t *json, struct sr_image_config *config)
{
    struct sr_image_config taken = {0};
    const json_t *user = json_object_get(json, "user"), *workdir = json_object_get(json, "workdir");
    taken.workdir = json_string_value(workdir);
    taken.has_user = json_is_object(user);
    taken.user = sr_member_text(user, "name");
    bool good = take_texts(json_object_get(json, "env"), &taken.env, &taken.env_count) &&
                take_texts(json_object_get(json, "entrypoint"), &taken.entrypoint,
                           &taken.entrypoint_count) &&
                take_texts(json_object_get(json, "cmd"), &taken.cmd, &taken.cmd_count);
    good = good && (json_is_null(workdir) || (taken.workdir != NULL && taken.workdir[0] == '/'));
    good = good && (json_is_null(user) || (taken.user != NULL && take_id(user, "uid", &taken.uid) &&
                                           take_id(user, "gid", &taken.gid)));
    for (size_t i = 0; good && i < taken.env_count; i++)
        good = taken.env[i][0] != '=' && strchr(taken.env[i], '=') != NULL;
    if (!good) {
        image_config_free(&taken);
        return -1;
    }
    *config = taken;
    return 0;
}

void image_config_free(struct sr_image_config *config)
{
    free(config->env);
    free(config->entrypoint);
    free(config->cmd);
    *config = (struct sr_image_config){0};
}
