// A program: an array of operations, and what they read and write beside each other. operations.py fills it.
#pragma once

#include <stdint.h>

enum Type : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };
enum Kind : int32_t { EMBED = 0, PLACE = 1, RMS = 2, LAYER = 3, LINEAR = 4, ATTEND = 5, ACTIVATE = 6, GATE = 7, ADD = 8, CAP = 9, CROSS = 10, CHOOSE = 11, MIX = 12, CELL = 13 };
enum Activation : int32_t { NONE = 0, RELU = 1, GELU = 2, GELU_TANH = 3, GELU_QUICK = 4, SILU = 5, TANH = 6, SIGMOID = 7 };

enum Cell : int32_t { ELMAN = 0, GRU = 1, LSTM = 2 };

constexpr int GROUP = 32;  // weights that share a scale

struct Op {
    int32_t kind, type, width, inner, choice, flag, heads, groups;  // width: of what comes out; inner: of what goes in
    float eps, factor, cap, rest;
    const void *weight, *scale, *bias, *more;  // more: sines beside the cosines in `scale`
    float *in, *in2, *in3, *out;
    const float *query_norm, *key_norm;
    int64_t layer, reach;
    int32_t rotary, interleaved;
    int32_t copies, wait;  // copies: experts that each token goes to, or 0; wait: the next operation reads what others write here
};

struct Layer {  // one attention's keys and values, (B, G, room, K)
    void *keys, *values;
    int64_t room, place, begun;  // place: column of the first new token; begun: column at which row starts count from
    int64_t type;
};

struct Memory {  // what one cross-attention made of the encoder's states, (B, S, G, K)
    void *keys, *values;
    int64_t length, type;
    const int64_t *lengths;  // (B,) of which are real, or null
};

struct State {
    int64_t batch, length, past;   // rows, new tokens of each, tokens before them
    const int64_t *tokens, *starts;  // (B, L); (B,) columns in which rows begin
    const Layer *layers;
    const Memory *memories;
    float *scores;  // scratch of each thread
    int64_t n_scores;
};
