#include "common/ipv4.h"

#include <stdio.h>

/* The guest's and the TAP's (src/net/net.h): what is sent there never leaves the run. */
#define RUN_FIRST 0xC6120000
#define RUN_LAST 0xC6120003

const struct sr_ipv4_range sr_ipv4_reserved[] = {
    {0x00000000, 0x00FFFFFF, "this host (0.0.0.0/8)"},
    {0x7F000000, 0x7FFFFFFF, "loopback (127.0.0.0/8)"},
    {0xA9FE0000, 0xA9FEFFFF, "link-local (169.254.0.0/16, cloud metadata)"},
    {RUN_FIRST, RUN_LAST, "the run's own network (198.18.0.0/30)"},
    {0xE0000000, 0xEFFFFFFF, "multicast (224.0.0.0/4)"},
    {0xF0000000, 0xFFFFFFFF, "reserved and broadcast (240.0.0.0/4)"},
};
const size_t sr_ipv4_reserved_count = sizeof sr_ipv4_reserved / sizeof sr_ipv4_reserved[0];

const char *sr_ipv4_parse(const char *text, uint32_t *address)
{
    uint32_t sum = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t part = 0;
        int digits = 0;
        for (; *text >= '0' && *text <= '9' && digits < 4; text++, digits++)
            part = part * 10 + (uint32_t)(*text - '0');
        if (digits == 0 || part > 255 || (digits > 1 && text[-digits] == '0') ||
            (i < 3 && *text++ != '.'))
            return NULL;
        sum = sum << 8 | part;
    }
    *address = sum;
    return text;
}

const char *sr_ipv4_format(uint32_t address, char text[SR_IPV4_TEXT_MAX])
{
    snprintf(text, SR_IPV4_TEXT_MAX, "%u.%u.%u.%u", address >> 24, address >> 16 & 255,
             address >> 8 & 255, address & 255);
    return text;
}

const struct sr_ipv4_range *sr_ipv4_find_reserved(uint32_t address)
{
    for (size_t i = 0; i < sr_ipv4_reserved_count; i++)
        if (address >= sr_ipv4_reserved[i].first && address <= sr_ipv4_reserved[i].last)
            return &sr_ipv4_reserved[i];
    return NULL;
}

bool sr_ipv4_opens_nothing(uint32_t address, unsigned prefix)
{
    uint32_t first = address & sr_ipv4_mask(prefix), last = address | ~sr_ipv4_mask(prefix);
    if (prefix == 32)
        return first >= RUN_FIRST && first <= RUN_LAST;
    for (size_t i = 0; i < sr_ipv4_reserved_count; i++) {
        if (first < sr_ipv4_reserved[i].first || first > sr_ipv4_reserved[i].last)
            continue;
        if (last <= sr_ipv4_reserved[i].last)
            return true;
        first = sr_ipv4_reserved[i].last + 1;
    }
    return false;
}

bool sr_ipv4_is_private(uint32_t address)
{
    return address >> 24 == 10 || address >> 20 == 0xAC1 || address >> 16 == 0xC0A8 ||
           address >> 22 == 0x191;
}
