// Puts a text together, for a reason, an error, an argument or a line of the log:
//
//     text reason = {0};
//     text_add(&reason, "at most ");
//     text_number(&reason, 3);
//     verdict->val.deny.reason = text_done(reason);
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// A string of the world that this plugin is built for.
#if defined(__BINDINGS_PROVIDER_PLUGIN_H) || !__has_include("policy_plugin.h")
#include "provider_plugin.h"
typedef provider_plugin_string_t text_string;
#else
#include "policy_plugin.h"
typedef policy_plugin_string_t text_string;
#endif

typedef struct {
    uint8_t *ptr;
    size_t len;
    size_t room;
} text;

static inline void text_bytes(text *to, const void *bytes, size_t len) {
    if (len > to->room - to->len) {
        // Doubled, so that a long text is not copied for every piece of it.
        size_t room = (to->len + len) * 2;
        to->ptr = realloc(to->ptr, room);
        if (!to->ptr) {
            abort();
        }
        to->room = room;
    }
    memcpy(to->ptr + to->len, bytes, len);
    to->len += len;
}

static inline void text_add(text *to, const char *words) {
    text_bytes(to, words, strlen(words));
}

static inline void text_number(text *to, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    text_bytes(to, digits + at, sizeof digits - at);
}

// In quotation marks, with those inside escaped.
static inline void text_quoted(text *to, const uint8_t *ptr, size_t len) {
    text_add(to, "\"");
    for (size_t i = 0; i < len; i++) {
        if (ptr[i] == '"' || ptr[i] == '\\') {
            text_add(to, "\\");
        }
        text_bytes(to, ptr + i, 1);
    }
    text_add(to, "\"");
}

// A JSON string: in quotation marks, with control characters escaped as well.
static inline void text_json(text *to, const uint8_t *ptr, size_t len) {
    static const char hex[] = "0123456789abcdef";
    text_add(to, "\"");
    for (size_t i = 0; i < len; i++) {
        if (ptr[i] < 0x20) {
            char escape[] = {'\\', 'u', '0', '0', hex[ptr[i] >> 4], hex[ptr[i] & 15]};
            text_bytes(to, escape, sizeof escape);
            continue;
        }
        if (ptr[i] == '"' || ptr[i] == '\\') {
            text_add(to, "\\");
        }
        text_bytes(to, ptr + i, 1);
    }
    text_add(to, "\"");
}

// Hands it over to the bindings.
static inline text_string text_done(text from) {
    return (text_string){from.ptr, from.len};
}

// Whether a string of the bindings is this word.
static inline bool text_is(text_string string, const char *word) {
    return strlen(word) == string.len && memcmp(word, string.ptr, string.len) == 0;
}

// Whether a string of the bindings begins with this word.
static inline bool text_begins(text_string string, const char *word) {
    size_t len = strlen(word);
    return len <= string.len && memcmp(word, string.ptr, len) == 0;
}

// Writes a line to the relay's log. Levels are those of the bindings, such as AGENT_RELAY_PLUGIN_HOST_LEVEL_INFO.
static inline void text_log(uint8_t level, text line) {
    text_string message = text_done(line);
    agent_relay_plugin_host_log(level, &message);
}

#endif
