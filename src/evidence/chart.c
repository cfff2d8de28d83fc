/* Charts as SVG, computed here: a page without scripts has nobody else to do it. */
#include "evidence/page.h"
#include "evidence/page_text.h"

#include <stdio.h>
#include <string.h>

/* Of the drawing, in its own units. */
enum { WIDTH = 440, HEIGHT = 190, LEFT = 62, RIGHT = 10, TOP = 12, BOTTOM = 26 };

struct chart {
    const char *name; /* "cpu": makes ids */
    const char *caption;
    char description[256];
    bool steps;   /* a value holds for the time before its point */
    bool percent; /* else bytes */
    uint64_t x[EVIDENCE_SUMMARY_POINTS + 1], y[EVIDENCE_SUMMARY_POINTS + 1];
    size_t count;
    uint64_t limit; /* a line to compare with; 0: none */
};

/* A round number, at least value: 1, 2 or 5 times a power of ten; of bytes, a power of two. */
static uint64_t round_up(uint64_t value, bool bytes)
{
    uint64_t power = 1;
    if (bytes) {
        for (power = 1024; power < value && power < UINT64_C(1) << 60;)
            power *= 2;
        /* Three quarters of a power of two are round enough: 256 MiB under a curve of 130 is mostly
         * air. */
        return power / 4 * 3 >= value ? power / 4 * 3 : power;
    }
    for (; power < UINT64_MAX / 10; power *= 10)
        for (uint64_t factor = 1; factor <= 5; factor += factor == 1 ? 1 : 3)
            if (power * factor >= value)
                return power * factor;
    return power;
}

static void label(char text[EVIDENCE_QUANTITY], uint64_t value, bool percent)
{
    if (value == 0)
        snprintf(text, EVIDENCE_QUANTITY, "0");
    else if (percent)
        snprintf(text, EVIDENCE_QUANTITY, "%llu %%", (unsigned long long)value);
    else if (value % (UINT64_C(1) << 20) == 0 && value < UINT64_C(1) << 40)
        snprintf(text, EVIDENCE_QUANTITY, "%llu MiB", (unsigned long long)value >> 20);
    else
        evidence_bytes_text(value, text);
}

/* Places in tenths of a unit. */
static unsigned place_x(const struct chart *chart, uint64_t x)
{
    double share = (double)x / (double)chart->x[chart->count - 1];
    return (unsigned)(10 * ((double)LEFT + share * (WIDTH - LEFT - RIGHT)) + .5);
}

static unsigned place_y(uint64_t y, uint64_t top)
{
    double share = (double)y / (double)top;
    return (unsigned)(10 * (HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)) + .5);
}

static void put_point(struct sr_buf *out, char command, unsigned x, unsigned y)
{
    sr_buf_printf(out, "%c%u.%u %u.%u", command, x / 10, x % 10, y / 10, y % 10);
}

static void put_curve(struct sr_buf *out, const struct chart *chart, uint64_t top)
{
    for (size_t i = 0; i < chart->count; i++) {
        unsigned x = place_x(chart, chart->x[i]), y = place_y(chart->y[i], top);
        if (chart->steps && i > 0)
            put_point(out, 'L', place_x(chart, chart->x[i - 1]), y);
        put_point(out, i == 0 ? 'M' : 'L', x, y);
    }
}

static void put_grid(struct sr_buf *out, const struct chart *chart, uint64_t top)
{
    char text[EVIDENCE_QUANTITY];
    for (unsigned i = 0; i <= 2; i++) {
        uint64_t value = top / 2 * i;
        unsigned y = place_y(value, top);
        label(text, value, chart->percent);
        sr_buf_printf(out,
                      "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%u.%u\" y2=\"%u.%u\"/>"
                      "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">%s</text>",
                      LEFT, WIDTH - RIGHT, y / 10, y % 10, y / 10, y % 10, LEFT - 8, y / 10 + 4,
                      text);
    }
    for (unsigned i = 0; i <= 2; i++) {
        uint64_t at = chart->x[chart->count - 1] / 2 * i;
        static const char *const anchors[] = {"start", "middle", "end"};
        if (at == 0)
            snprintf(text, sizeof text, "0");
        else if (at < 1000000)
            evidence_usec_text(at, text);
        else
            snprintf(text, sizeof text, "%llu.%llu s", (unsigned long long)at / 1000000,
                     (unsigned long long)at / 100000 % 10);
        sr_buf_printf(out, "<text x=\"%u\" y=\"%d\" text-anchor=\"%s\">%s</text>",
                      place_x(chart, at) / 10, HEIGHT - 6, anchors[i], text);
    }
}

static void put_chart(struct sr_buf *out, const struct chart *chart)
{
    uint64_t most = chart->limit;
    for (size_t i = 0; i < chart->count; i++)
        most = chart->y[i] > most ? chart->y[i] : most;
    uint64_t top = round_up(most > 0 ? most : 1, !chart->percent);
    sr_buf_printf(out,
                  "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" "
                  "aria-labelledby=\"%s-title %s-text\"><title id=\"%s-title\">%s</title>"
                  "<desc id=\"%s-text\">",
                  chart->caption, WIDTH, HEIGHT, chart->name, chart->name, chart->name,
                  chart->caption, chart->name);
    page_text(out, chart->description);
    sr_buf_puts(out, "</desc>");
    put_grid(out, chart, top);
    sr_buf_puts(out, "<path class=\"area\" d=\"");
    put_curve(out, chart, top);
    put_point(out, 'L', place_x(chart, chart->x[chart->count - 1]), place_y(0, top));
    put_point(out, 'L', place_x(chart, chart->x[0]), place_y(0, top));
    sr_buf_puts(out, "Z\"/><path class=\"curve\" d=\"");
    put_curve(out, chart, top);
    sr_buf_puts(out, "\"/>");
    if (chart->limit > 0) {
        unsigned y = place_y(chart->limit, top);
        sr_buf_printf(out,
                      "<line class=\"limit\" x1=\"%d\" x2=\"%d\" y1=\"%u.%u\" y2=\"%u.%u\"/>"
                      "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">RAM of the guest</text>",
                      LEFT, WIDTH - RIGHT, y / 10, y % 10, y / 10, y % 10, WIDTH - RIGHT,
                      y / 10 + 14);
    }
    sr_buf_puts(out, "</svg></figure>");
}

/* Points whose time does not rise are left out: a hostile report's clock goes as it likes. */
static void add_point(struct chart *chart, uint64_t x, uint64_t y)
{
    if (chart->count == 0 || x > chart->x[chart->count - 1]) {
        chart->x[chart->count] = x;
        chart->y[chart->count++] = y;
    }
}

/* Percent of one CPU between the samples, from the VM's start on. */
static void make_cpu(struct chart *chart, const struct evidence_reading *reading)
{
    const struct evidence_summary *s = reading->summary;
    int64_t begin = s->vm_started_nsec > 0 ? s->vm_started_nsec : s->points[0].nsec;
    uint64_t before_cpu = 0, before_x = 0, most = 0;
    if (s->vm_started_nsec == 0)
        before_cpu = s->points[0].cpu_usec;
    add_point(chart, 0, 0);
    for (size_t i = 0; i < s->point_count; i++) {
        const struct evidence_summary_point *point = &s->points[i];
        uint64_t x = point->nsec > begin ? (uint64_t)(point->nsec - begin) / 1000 : 0;
        if (x <= before_x || point->cpu_usec < before_cpu)
            continue;
        double share = (double)(point->cpu_usec - before_cpu) / (double)(x - before_x);
        uint64_t percent = share > 1e6 ? 100000000 : (uint64_t)(share * 100 + .5);
        most = percent > most ? percent : most;
        add_point(chart, x, percent);
        before_cpu = point->cpu_usec;
        before_x = x;
    }
    snprintf(
        chart->description, sizeof chart->description,
        "CPU time used by the VM between %zu samples, as a share of one CPU. The most was %llu "
        "percent.",
        chart->count - 1, (unsigned long long)most);
    if (chart->count > 1)
        chart->y[0] = chart->y[1];
}

static void make_memory(struct chart *chart, const struct evidence_reading *reading)
{
    const struct evidence_summary *s = reading->summary;
    int64_t begin = s->vm_started_nsec > 0 ? s->vm_started_nsec : s->points[0].nsec;
    char most[EVIDENCE_QUANTITY];
    add_point(chart, 0, s->vm_started_nsec > 0 ? 0 : s->points[0].memory_bytes);
    for (size_t i = 0; i < s->point_count; i++)
        if (s->points[i].nsec > begin)
            add_point(chart, (uint64_t)(s->points[i].nsec - begin) / 1000,
                      s->points[i].memory_bytes);
    chart->limit = s->exit.ram_bytes;
    snprintf(chart->description, sizeof chart->description,
             "Memory of the VM at %zu samples, its VMM included. The most was %s.",
             chart->count - 1, evidence_bytes_text(s->peak_memory_bytes, most));
}

bool page_charts(struct sr_buf *out, const struct evidence_reading *reading)
{
    if (reading->summary->point_count == 0)
        return false;
    struct chart cpu = {.name = "cpu",
                        .caption = "CPU, percent of one",
                        .steps = true,
                        .percent = true},
                 memory = {.name = "memory", .caption = "Memory of the VM and its VMM"};
    make_cpu(&cpu, reading);
    make_memory(&memory, reading);
    if (cpu.count < 3 || memory.count < 3)
        return false;
    sr_buf_puts(out, "<div class=\"charts\">");
    put_chart(out, &cpu);
    put_chart(out, &memory);
    sr_buf_puts(out, "</div>\n");
    return true;
}

void page_phases(struct sr_buf *out, const struct evidence_summary *s)
{
    if (s->first_nsec == 0 || s->vm_started_nsec < s->first_nsec ||
        s->vm_exited_nsec < s->vm_started_nsec || s->last_nsec < s->vm_exited_nsec ||
        s->last_nsec == s->first_nsec)
        return;
    enum { BAR = 1000 };
    const double all = (double)(s->last_nsec - s->first_nsec);
    int64_t ends[] = {s->vm_started_nsec, s->vm_exited_nsec, s->last_nsec};
    static const char *const classes[] = {"before", "run", "after"}, *const names[] = {"preparing",
                                                                                       "VM alive",
                                                                                       "closing"};
    char took[3][EVIDENCE_QUANTITY];
    for (int i = 0; i < 3; i++)
        evidence_usec_text((uint64_t)(ends[i] - (i == 0 ? s->first_nsec : ends[i - 1])) / 1000,
                           took[i]);
    sr_buf_printf(out,
                  "<svg viewBox=\"0 0 %d 14\" role=\"img\" aria-labelledby=\"phases-title "
                  "phases-text\"><title id=\"phases-title\">Phases of the run</title><desc "
                  "id=\"phases-text\">%s: %s; %s: %s; %s: %s.</desc>",
                  BAR, names[0], took[0], names[1], took[1], names[2], took[2]);
    int64_t begin = s->first_nsec;
    for (int i = 0; i < 3; i++) {
        unsigned x = (unsigned)((double)(begin - s->first_nsec) / all * (double)BAR),
                 to = (unsigned)((double)(ends[i] - s->first_nsec) / all * (double)BAR);
        /* A phase too short to see is still there. */
        sr_buf_printf(out, "<rect class=\"%s\" x=\"%u\" width=\"%u\" height=\"14\" rx=\"2\"/>",
                      classes[i], x, to > x + 4 ? to - x - 2 : 2);
        begin = ends[i];
    }
    sr_buf_puts(out, "</svg><ul class=\"legend\">");
    for (int i = 0; i < 3; i++)
        sr_buf_printf(out, "<li class=\"%s\">%s %s</li>", classes[i], names[i], took[i]);
    sr_buf_puts(out, "</ul>\n");
}
