// Reads the operator's settings: a JSON object of plain texts and whole numbers, as far as this
// plugin has such settings. Every function stops at the end of the text, whatever it holds.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} json;

// A piece of the text, not terminated.
typedef struct {
    const uint8_t *ptr;
    size_t len;
} json_text;

static inline void json_spaces(json *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) {
        in->at++;
    }
}

// Takes one punctuation mark, with the spaces before it.
static inline bool json_mark(json *in, uint8_t mark) {
    json_spaces(in);
    bool there = in->at < in->end && *in->at == mark;
    in->at += there;
    return there;
}

static inline bool json_ended(json *in) {
    json_spaces(in);
    return in->at == in->end;
}

// Takes a string. One with an escape is not taken: no setting here needs one.
static inline bool json_string(json *in, json_text *out) {
    json rest = *in;
    if (!json_mark(&rest, '"')) {
        return false;
    }
    out->ptr = rest.at;
    while (rest.at < rest.end && *rest.at != '"' && *rest.at != '\\') {
        rest.at++;
    }
    out->len = (size_t)(rest.at - out->ptr);
    if (!json_mark(&rest, '"')) {
        return false;
    }
    *in = rest;
    return true;
}

// Takes a whole number of 0 to `max`.
static inline bool json_number(json *in, uint32_t max, uint32_t *out) {
    json rest = *in;
    json_spaces(&rest);
    const uint8_t *begin = rest.at;
    uint64_t number = 0;
    while (rest.at < rest.end && *rest.at >= '0' && *rest.at <= '9' && number <= max) {
        number = number * 10 + (uint64_t)(*rest.at++ - '0');
    }
    size_t digits = (size_t)(rest.at - begin);
    bool leading_zero = digits > 1 && *begin == '0';
    bool goes_on = rest.at < rest.end && (*rest.at == '.' || *rest.at == 'e' || *rest.at == 'E');
    if (digits == 0 || leading_zero || goes_on || number > max) {
        return false;
    }
    *out = (uint32_t)number;
    *in = rest;
    return true;
}

// Walks an object: the next key, with its colon, or `false` at the end or where it is malformed,
// which `json_ended` tells apart once the object's closing brace is taken. `first` is the caller's
// and begins as true.
static inline bool json_key(json *in, bool *first, json_text *key) {
    json rest = *in;
    if (!*first && !json_mark(&rest, ',')) {
        return false;
    }
    if (!json_string(&rest, key) || !json_mark(&rest, ':')) {
        return false;
    }
    *first = false;
    *in = rest;
    return true;
}

#endif
