#include "evidence/told.h"

#include "evidence/event.h"
#include "evidence/verify_state.h"

void verify_told_keep(struct verify *v, enum told_kind kind, uint64_t index)
{
    struct told_event *event = &v->told.of[kind];
    event->payload.len = 0;
    sr_buf_append(&event->payload, v->event.payload.text, v->event.payload.len);
    v->no_memory = v->no_memory || !sr_buf_ok(&event->payload);
    event->index = index;
    event->count++;
}

struct sr_json_slice verify_told(const struct verify *v, enum told_kind kind)
{
    const struct sr_buf *payload = &v->told.of[kind].payload;
    return (struct sr_json_slice){payload->len > 0 ? payload->data : "", payload->len};
}

bool verify_is_fielded(const struct verify *v)
{
    return verify_field(v, "integrity", EVIDENCE_OBSERVERS).len > 0;
}

void verify_told_free(struct verify_told *told)
{
    for (int i = 0; i < TOLD_COUNT; i++)
        sr_buf_free(&told->of[i].payload);
}
