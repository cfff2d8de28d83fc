#include "evidence/ocsf.h"

#include "common/jcs.h"
#include "evidence/event.h"
#include "evidence/summary.h"
#include "evidence/take.h"

#include <stdio.h>
#include <string.h>

enum class {
    CLASS_BASE = 0, /* nothing more specific would be true */
    CLASS_FILE = 1001,
    CLASS_PROCESS = 1007,
    CLASS_NETWORK = 4001,
    CLASS_LIFECYCLE = 6002,
};

enum severity { INFORMATIONAL = 1, LOW = 2, MEDIUM = 3, HIGH = 4 };
enum status { NO_STATUS = 0, SUCCESS = 1, FAILURE = 2 };

static const struct mapping {
    enum class class;
    unsigned activity;
    const char *activity_name;
    enum severity severity;
    enum status status;
} mappings[SR_EVENT_TYPE_COUNT] = {
    [SR_EVENT_COMPILE] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
    [SR_EVENT_RUN_PREPARED] = {CLASS_LIFECYCLE, 3, "Start", INFORMATIONAL, SUCCESS},
    [SR_EVENT_MOUNT_VALIDATED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
    [SR_EVENT_MOUNT_REJECTED] = {CLASS_FILE, 12, "Mount", MEDIUM, FAILURE},
    [SR_EVENT_MOUNT_APPLIED] = {CLASS_FILE, 12, "Mount", INFORMATIONAL, SUCCESS},
    [SR_EVENT_NETWORK_PLAN_GENERATED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
    [SR_EVENT_NETWORK_RULE_APPLIED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
    [SR_EVENT_NETWORK_RULE_HIT] = {CLASS_NETWORK, 6, "Traffic", INFORMATIONAL, NO_STATUS},
    [SR_EVENT_NETWORK_RULE_RELEASED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
    [SR_EVENT_NETWORK_RULE_CLEANUP_FAILED] = {CLASS_BASE, 99, "Other", HIGH, FAILURE},
    [SR_EVENT_VM_STARTED] = {CLASS_PROCESS, 1, "Launch", INFORMATIONAL, SUCCESS},
    [SR_EVENT_RESOURCE_SAMPLED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, NO_STATUS},
    [SR_EVENT_VM_EXITED] = {CLASS_PROCESS, 2, "Terminate", INFORMATIONAL, NO_STATUS},
    [SR_EVENT_RUN_CLEANED] = {CLASS_LIFECYCLE, 4, "Stop", INFORMATIONAL, SUCCESS},
    [SR_EVENT_RUN_FAILED] = {CLASS_LIFECYCLE, 99, "Other", MEDIUM, FAILURE},
    [SR_EVENT_NETWORK_FLOW_DENIED] = {CLASS_NETWORK, 5, "Refuse", MEDIUM, FAILURE},
    [SR_EVENT_OUTPUT_COLLECTED] = {CLASS_FILE, 1, "Create", INFORMATIONAL, SUCCESS},
    [SR_EVENT_VM_ACCEL_SELECTED] = {CLASS_BASE, 99, "Other", INFORMATIONAL, SUCCESS},
};

static const struct category {
    unsigned uid;
    const char *name, *class_name;
} base = {0, "Uncategorized", "Base Event"}, file = {1, "System Activity", "File System Activity"},
  process = {1, "System Activity", "Process Activity"},
  network = {4, "Network Activity", "Network Activity"},
  lifecycle = {6, "Application Activity", "Application Lifecycle"};

static const struct category *category_of(enum class class)
{
    return class == CLASS_FILE        ? &file
           : class == CLASS_PROCESS   ? &process
           : class == CLASS_NETWORK   ? &network
           : class == CLASS_LIFECYCLE ? &lifecycle
                                      : &base;
}

struct exporter {
    const char *version;
    evidence_ocsf_emit *emit;
    void *context;
    struct evidence_event event;
    struct sr_buf line, printable;
    int64_t vmm_pid; /* of the VM that was started last; -1: not known */
};

/* Every attribute is written by one of these: ,"key":value */
static void put_text(struct sr_buf *out, const char *key, const char *text)
{
    sr_buf_printf(out, ",\"%s\":", key);
    sr_jcs_text(out, text);
}

static void put_number(struct sr_buf *out, const char *key, int64_t value)
{
    sr_buf_printf(out, ",\"%s\":%lld", key, (long long)value);
}

/* The inside of a string of the event, decoded. */
static void put_slice(struct sr_buf *out, const char *key, struct sr_json_slice inside)
{
    sr_buf_printf(out, ",\"%s\":", key);
    sr_jcs_string(out, inside.text, inside.len);
}

static void put_product(struct sr_buf *out, const char *version)
{
    sr_buf_puts(out, "{\"name\":\"safe-run\",\"vendor_name\":\"safe-run\"");
    put_text(out, "version", version);
    sr_buf_putc(out, '}');
}

static void put_metadata(struct sr_buf *out, const struct exporter *exporter, uint64_t index,
                         bool controlled)
{
    const struct evidence_event *event = &exporter->event;
    sr_buf_puts(out, ",\"metadata\":{\"version\":\"" EVIDENCE_OCSF_VERSION "\",\"product\":");
    put_product(out, exporter->version);
    put_text(out, "log_name", EVIDENCE_EVENTS_FILE);
    put_text(out, "log_provider", "safe-run");
    put_text(out, "event_code", sr_event_type_name(event->kind));
    put_slice(out, "uid", event->self);
    put_slice(out, "correlation_uid", event->run_id);
    put_slice(out, "original_time", event->timestamp);
    put_number(out, "sequence", (int64_t)index);
    sr_buf_puts(out, controlled ? ",\"profiles\":[\"security_control\"]}" : "}");
}

/* The machine is the VM: it is known by its run, and the host's name is in no evidence. */
static void put_system(struct sr_buf *out, const struct evidence_event *event)
{
    sr_buf_puts(out, ",\"actor\":{\"app_name\":\"safe-run\"},\"device\":{\"type_id\":6,\"type\":"
                     "\"Virtual\",\"name\":\"microVM\"");
    put_slice(out, "uid", event->run_id);
    sr_buf_putc(out, '}');
}

static void put_file(struct sr_buf *out, struct sr_json_slice payload, const char *member)
{
    char path[4096];
    evidence_take_text(payload, member, path, sizeof path);
    const char *slash = strrchr(path, '/');
    sr_buf_puts(out, ",\"file\":{\"type_id\":0");
    put_text(out, "name", slash != NULL && slash[1] != '\0' ? slash + 1 : path);
    put_text(out, "path", path);
    sr_buf_putc(out, '}');
}

static void put_process(struct sr_buf *out, struct exporter *exporter)
{
    struct sr_json_slice payload = exporter->event.payload, arg,
                         argv = sr_json_get(payload, "argv");
    char text[4096];
    if (exporter->event.kind == SR_EVENT_VM_STARTED)
        exporter->vmm_pid = evidence_take_number(payload, "pid");
    evidence_take_text(payload, "launcher", text, sizeof text);
    sr_buf_puts(out, ",\"process\":{");
    sr_buf_puts(out, "\"name\":");
    sr_jcs_text(out, text[0] != '\0' ? text : "vmm");
    if (exporter->vmm_pid >= 0)
        put_number(out, "pid", exporter->vmm_pid);
    if (sr_json_is_array(argv)) {
        sr_cleanup_buf struct sr_buf words = SR_BUF_INIT;
        for (size_t at = 0; sr_json_next(argv, &at, &arg);) {
            evidence_take_string(arg, text, sizeof text);
            sr_buf_printf(&words, "%s%s", words.len > 0 ? " " : "", text);
        }
        put_text(out, "cmd_line", words.data != NULL ? words.data : "");
    }
    sr_buf_putc(out, '}');
    int64_t status = evidence_take_number(sr_json_get(payload, "vmm"), "status");
    if (exporter->event.kind == SR_EVENT_VM_EXITED && status >= 0)
        put_number(out, "exit_code", status);
}

static void put_control(struct sr_buf *out, int action, const char *action_name, int disposition,
                        const char *disposition_name)
{
    put_number(out, "action_id", action);
    put_text(out, "action", action_name);
    put_number(out, "disposition_id", disposition);
    put_text(out, "disposition", disposition_name);
}

/* An address is ip, a name hostname; what is neither (a range, "others") is only a name. */
static void put_destination(struct sr_buf *out, struct sr_json_slice payload)
{
    char target[64], host[256];
    evidence_take_text(payload, "target", target, sizeof target);
    if (target[0] == '\0')
        evidence_take_text(payload, "destination", target, sizeof target);
    evidence_take_text(payload, "host", host, sizeof host);
    size_t len = strlen(target);
    if (len > 3 && strcmp(target + len - 3, "/32") == 0)
        target[len - 3] = '\0';
    bool is_address = target[0] != '\0' && target[strspn(target, "0123456789.")] == '\0';
    sr_buf_printf(out, ",\"dst_endpoint\":{\"%s\":", is_address ? "ip" : "name");
    sr_jcs_text(out, target);
    if (host[0] != '\0')
        put_text(out, "hostname", host);
    int64_t port = evidence_take_number(payload, "port");
    if (port > 0 && port <= 65535)
        put_number(out, "port", port);
    sr_buf_putc(out, '}');
}

static void put_network(struct sr_buf *out, const struct evidence_event *event)
{
    static const struct {
        const char *name;
        int number;
    } protocols[] = {{"icmp", 1}, {"tcp", 6}, {"udp", 17}};
    char protocol[32];
    int64_t allowed = 0, denied = evidence_take_number(event->payload, "packets");
    if (event->kind == SR_EVENT_NETWORK_RULE_HIT) {
        allowed = evidence_take_number(event->payload, "allowedHits");
        denied = evidence_take_number(event->payload, "blockedHits");
    }
    allowed = allowed < 0 ? 0 : allowed;
    denied = denied < 0 ? 0 : denied;
    put_destination(out, event->payload);
    evidence_take_text(event->payload, "protocol", protocol, sizeof protocol);
    sr_buf_puts(out, ",\"connection_info\":{\"direction_id\":2,\"direction\":\"Outbound\","
                     "\"protocol_ver_id\":4");
    put_text(out, "protocol_name", protocol);
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(protocol, protocols[i].name) == 0)
            put_number(out, "protocol_num", protocols[i].number);
    sr_buf_puts(out, "},\"traffic\":{\"packets\":");
    sr_buf_i64(out, allowed + denied);
    sr_buf_putc(out, '}');
    if (allowed > 0 && denied > 0)
        put_control(out, 0, "Unknown", 99, "Some allowed, some dropped");
    else if (denied > 0)
        put_control(out, 2, "Denied", 6, "Dropped");
    else
        put_control(out, 1, "Allowed", 1, "Allowed");
}

static void put_unmapped(struct sr_buf *out, const struct evidence_event *event)
{
    sr_buf_puts(out, ",\"unmapped\":{\"payload\":");
    sr_buf_append(out, event->payload.text, event->payload.len);
    put_slice(out, "stage", event->stage);
    put_slice(out, "hashPrev", event->prev);
    put_slice(out, "hashSelf", event->self);
    sr_buf_putc(out, '}');
}

/* Contradicted by the host, an ordinary end is none. */
static enum severity severity_of(const struct mapping *mapping, const struct evidence_event *event)
{
    struct evidence_exit_facts facts;
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    if (event->kind != SR_EVENT_VM_EXITED)
        return event->kind == SR_EVENT_NETWORK_RULE_HIT &&
                       evidence_take_number(event->payload, "blockedHits") > 0
                   ? MEDIUM
                   : mapping->severity;
    evidence_exit_facts_read(event->payload, &facts);
    return evidence_contradictions(&facts, found) > 0 ? HIGH : mapping->severity;
}

/* An output may also not have been collected. */
static enum status status_of(const struct mapping *mapping, const struct evidence_event *event)
{
    struct sr_json_slice collected = sr_json_get(event->payload, "collected");
    return collected.len > 0 && collected.text[0] == 'f' ? FAILURE : mapping->status;
}

/* How often, and not before and not after which time. */
static void put_denial(struct sr_buf *out, const struct evidence_event *event)
{
    int64_t first = evidence_take_time(event->payload, "firstAt"),
            last = evidence_take_time(event->payload, "lastAt"),
            packets = evidence_take_number(event->payload, "packets");
    if (packets >= 0)
        put_number(out, "count", packets);
    if (first > 0)
        put_number(out, "start_time", first / 1000000);
    if (last > 0)
        put_number(out, "end_time", last / 1000000);
}

static void put_record(struct exporter *exporter, uint64_t index)
{
    static const char *const severities[] = {"Unknown", "Informational", "Low", "Medium", "High"};
    static const char *const statuses[] = {"Unknown", "Success", "Failure"};
    const struct evidence_event *event = &exporter->event;
    const struct mapping *mapping = &mappings[event->kind];
    const struct category *category = category_of(mapping->class);
    struct sr_buf *out = &exporter->line;
    char sentence[EVIDENCE_SUMMARY_TEXT];
    enum severity severity = severity_of(mapping, event);
    bool refused = event->kind == SR_EVENT_MOUNT_REJECTED,
         controlled = mapping->class == CLASS_NETWORK || refused;
    evidence_event_sentence(event->kind, event->payload, sentence, sizeof sentence);

    sr_buf_printf(out, "{\"activity_id\":%u", mapping->activity);
    put_text(out, "activity_name", mapping->activity_name);
    put_number(out, "category_uid", category->uid);
    put_text(out, "category_name", category->name);
    put_number(out, "class_uid", mapping->class);
    put_text(out, "class_name", category->class_name);
    put_number(out, "type_uid", mapping->class * 100 + mapping->activity);
    sr_buf_printf(out, ",\"type_name\":\"%s: %s\"", category->class_name, mapping->activity_name);
    put_number(out, "severity_id", severity);
    put_text(out, "severity", severities[severity]);
    enum status status = status_of(mapping, event);
    if (status != NO_STATUS) {
        put_number(out, "status_id", status);
        put_text(out, "status", statuses[status]);
    }
    put_number(out, "time", evidence_event_nsec(event) / 1000000);
    if (event->kind == SR_EVENT_NETWORK_FLOW_DENIED)
        put_denial(out, event);
    put_text(out, "message", sentence);
    put_metadata(out, exporter, index, controlled);
    switch (mapping->class) {
    case CLASS_FILE:
        put_system(out, event);
        put_file(out, event->payload, event->kind == SR_EVENT_OUTPUT_COLLECTED ? "path" : "source");
        if (refused)
            put_control(out, 2, "Denied", 2, "Blocked");
        break;
    case CLASS_PROCESS:
        put_system(out, event);
        put_process(out, exporter);
        break;
    case CLASS_NETWORK:
        put_network(out, event);
        break;
    case CLASS_LIFECYCLE:
        sr_buf_puts(out, ",\"app\":");
        put_product(out, exporter->version);
        break;
    case CLASS_BASE:
        break;
    }
    put_unmapped(out, event);
    sr_buf_puts(out, "}\n");
}

static int export_event(void *context, uint64_t index, const struct sr_json_scan *scan,
                        const char *text, struct sr_error *err)
{
    struct exporter *exporter = context;
    struct evidence_event_fault fault;
    if (evidence_event_parse(scan, text, &exporter->event, &fault) < 0) {
        char path[64];
        snprintf(path, sizeof path, "events[%llu].%s", (unsigned long long)index, fault.field);
        return sr_fail(err, SR_EVD_301, path, "%s", fault.what);
    }
    exporter->line.len = 0;
    exporter->printable.len = 0;
    put_record(exporter, index);
    sr_json_printable(exporter->line.data, exporter->line.len, &exporter->printable);
    if (!sr_buf_ok(&exporter->line) || !sr_buf_ok(&exporter->printable))
        return sr_fail(err, SR_EVD_002, "report", "out of memory");
    return exporter->emit(exporter->context, exporter->printable.data, exporter->printable.len,
                          err);
}

int evidence_ocsf_export(int fd, const char *version, evidence_ocsf_emit *emit, void *context,
                         struct sr_error *err)
{
    sr_cleanup_report_walk struct evidence_report_walk walk = {.reader.copy_fd = -1};
    struct exporter exporter = {
        .version = version, .emit = emit, .context = context, .vmm_pid = -1};
    int result = evidence_report_walk(&walk, fd, 0, export_event, &exporter, err);
    evidence_event_free(&exporter.event);
    sr_buf_free(&exporter.line);
    sr_buf_free(&exporter.printable);
    return result;
}
