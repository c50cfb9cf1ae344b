// One step of a decoder, token by token: the operations that a captured model is made of (see operations.py).
//
// A program is an array of Op. All threads walk through it together; each takes its share of an operation's rows and
// waits for the others where the next one reads what they wrote. Sums are made in float32 whatever the weights are.
// There is no other entry than `run` (a program) and `multiply` (one linear layer), and no state between calls.

#include <omp.h>

#include "linear.h"
#include "program.h"
#include "vectors.h"
#include "whole.h"

static void linear(const Op &op, int64_t first, int64_t last, int64_t rows) {
    switch (op.type) {
        case FLOAT32: return linear_of<Float32>(op, first, last, rows);
        case BFLOAT16: return linear_of<BFloat16>(op, first, last, rows);
        case INT8: return whole_linear<8>(op, first, last, rows);
        default: return whole_linear<4>(op, first, last, rows);
    }
}

static void embed(const Op &op, int64_t token, float *out) {
    switch (op.type) {
        case FLOAT32: memcpy(out, (const float *)op.weight + token * op.width, op.width * sizeof(float)); break;
        case BFLOAT16:
            for (int64_t i = 0; i < op.width; i++) out[i] = wide(((const uint16_t *)op.weight)[token * op.width + i]);
            break;
        case INT8: whole_row<8>(op, token, op.width, out); break;
        default: whole_row<4>(op, token, op.width, out);
    }
    for (int64_t i = 0; i < op.width; i++) out[i] = out[i] * op.factor + (op.bias ? ((const float *)op.bias)[i] : 0);
}

static inline float activated(float x, int choice) {
    switch (choice) {
        case RELU: return x > 0 ? x : 0;
        case GELU: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
        case GELU_TANH: return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        case GELU_QUICK: return x / (1 + expf(-1.702f * x));
        case SILU: return x / (1 + expf(-x));
        case TANH: return tanhf(x);
        case SIGMOID: return 1 / (1 + expf(-x));
        default: return x;
    }
}

// A norm over the `width` values of one token or head.
static void norm(const float *in, float *out, int64_t width, const float *weight, const float *bias, float eps, bool layer) {
    double mean = 0, square = 0;
    if (layer) {
        for (int64_t i = 0; i < width; i++) mean += in[i];
        mean /= width;
    }
    for (int64_t i = 0; i < width; i++) square += (in[i] - mean) * (in[i] - mean);
    float middle = (float)mean, factor = (float)(1 / sqrt(square / width + eps));
    for (int64_t i = 0; i < width; i++) {
        float value = (in[i] - middle) * factor * (weight ? weight[i] : 1.0f);
        out[i] = bias ? value + bias[i] : value;
    }
}

static void rotate(float *x, const Op &op, int64_t position) {
    const int half = op.rotary / 2;
    const float *cosine = (const float *)op.scale + position * half, *sine = (const float *)op.more + position * half;
    for (int i = 0; i < half; i++) {
        float &a = x[op.interleaved ? 2 * i : i], &b = x[op.interleaved ? 2 * i + 1 : i + half];
        float turned = a * cosine[i] - b * sine[i];
        b = a * sine[i] + b * cosine[i];
        a = turned;
    }
}

static inline float value_of(float x) { return x; }
static inline float value_of(uint16_t x) { return wide(x); }
static inline void put(float *to, float x) { *to = x; }
static inline void put(uint16_t *to, float x) { *to = narrow(x); }

// Scores in place to shares that sum to one.
static void soften(float *scores, int64_t count) {
    float highest = -INFINITY;
    for (int64_t s = 0; s < count; s++) highest = scores[s] > highest ? scores[s] : highest;
    double sum = 0;
    for (int64_t s = 0; s < count; s++) sum += scores[s] = expf(scores[s] - highest);
    const float share = (float)(1 / sum);
    for (int64_t s = 0; s < count; s++) scores[s] *= share;
}

template <class Half>
static inline float product(const Half *key, const float *query, int64_t K) {
    const int64_t whole = K / VL * VL;
    vf sums = {};
    for (int64_t i = 0; i < whole; i += VL) sums += read(key + i) * read(query + i);
    float sum = total(sums);
    for (int64_t i = whole; i < K; i++) sum += value_of(key[i]) * query[i];
    return sum;
}

template <class Half>
static inline void mix(float *out, const Half *value, float weight, int64_t K) {
    const int64_t whole = K / VL * VL;
    for (int64_t i = 0; i < whole; i += VL) *(vf_any *)(out + i) += read(value + i) * weight;
    for (int64_t i = whole; i < K; i++) out[i] += value_of(value[i]) * weight;
}

// One head of one new token reads the memory.
template <class Half>
static void cross(const Op &op, const State &state, int64_t token, int64_t head, float *scores) {
    const Memory &memory = state.memories[op.layer];
    const int64_t K = op.width, row = token / state.length, step = (int64_t)op.groups * K;
    const int64_t at = row * memory.length * step + head / (op.heads / op.groups) * K;
    const int64_t count = memory.lengths ? memory.lengths[row] : memory.length;
    const Half *keys = (const Half *)memory.keys + at, *values = (const Half *)memory.values + at;
    const float *query = op.in + (token * op.heads + head) * K;
    float *out = op.out + (token * op.heads + head) * K;
    for (int64_t s = 0; s < count; s++) {
        scores[s] = product(keys + s * step, query, K) * op.factor;
        if (op.cap > 0) scores[s] = op.cap * tanhf(scores[s] / op.cap);
    }
    soften(scores, count);
    memset(out, 0, K * sizeof(float));
    for (int64_t s = 0; s < count; s++) mix(out, values + s * step, scores[s], K);
}

// The heads of one group in one row: new keys and values go into the cache, then each new token attends.
template <class Half>
static void attend(const Op &op, const State &state, int64_t row, int64_t group, float *scores) {
    const Layer &layer = state.layers[op.layer];
    const int64_t K = op.width, per = op.heads / op.groups, L = state.length;
    Half *keys = (Half *)layer.keys + (row * op.groups + group) * layer.room * K;
    Half *values = (Half *)layer.values + (row * op.groups + group) * layer.room * K;
    const int64_t start = state.starts ? state.starts[row] : 0;
    for (int64_t l = 0; l < L; l++) {
        float *key = op.in2 + ((row * L + l) * op.groups + group) * K;
        const float *value = op.in3 + ((row * L + l) * op.groups + group) * K;
        if (op.key_norm) norm(key, key, K, op.key_norm, nullptr, op.eps, false);
        if (op.rotary) rotate(key, op, state.past + l - start);
        for (int64_t i = 0; i < K; i++) {
            put(keys + (layer.place + l) * K + i, key[i]);
            put(values + (layer.place + l) * K + i, value[i]);
        }
    }
    for (int64_t l = 0; l < L; l++) {
        const int64_t end = layer.place + l + 1;
        int64_t first = start - layer.begun;
        if (op.reach >= 0 && end - 1 - op.reach > first) first = end - 1 - op.reach;
        if (first < 0) first = 0;
        for (int64_t head = group * per; head < (group + 1) * per; head++) {
            float *query = op.in + ((row * L + l) * op.heads + head) * K;
            float *out = op.out + ((row * L + l) * op.heads + head) * K;
            if (op.query_norm) norm(query, query, K, op.query_norm, nullptr, op.eps, false);
            if (op.rotary) rotate(query, op, state.past + l - start);
            const float *bias = op.bias ? (const float *)op.bias + head * op.inner : nullptr;  // by distance
            for (int64_t s = first; s < end; s++) {
                float score = product(keys + s * K, query, K) * op.factor;
                if (op.cap > 0) score = op.cap * tanhf(score / op.cap);
                scores[s - first] = bias ? score + bias[end - 1 - s] : score;
            }
            soften(scores, end - first);
            memset(out, 0, K * sizeof(float));
            for (int64_t s = first; s < end; s++) mix(out, values + s * K, scores[s - first], K);
        }
    }
}

// Which experts each token goes to. Copies of tokens lie side by side by the expert that is to read them, so that its
// weights are read once: those of an expert that nobody chose are never touched.
struct Plan {
    int32_t *ends;    // (E + 1,) where the copies for each expert begin, and the end of the last
    int32_t *places;  // (T, copies) where each copy lies
    float *shares;    // (T, copies) of its expert's answer, one in sum
    Plan(const Op &op, int64_t tokens)
        : ends((int32_t *)op.in3), places(ends + op.groups + 1), shares((float *)(places + tokens * op.copies)) {}
};

static void choose(const Op &op, int64_t tokens) {
    const Plan plan(op, tokens);
    const int64_t E = op.groups, K = op.copies;
    for (int64_t e = 0; e <= E; e++) plan.ends[e] = 0;
    for (int64_t t = 0; t < tokens; t++) {
        float *scores = op.in + t * E, sum = 0;
        soften(scores, E);
        for (int64_t k = 0; k < K; k++) {
            int64_t best = 0;
            for (int64_t e = 1; e < E; e++) best = scores[e] > scores[best] ? e : best;
            plan.places[t * K + k] = (int32_t)best;  // the expert, as long as the places are not known
            sum += plan.shares[t * K + k] = scores[best];
            scores[best] = -1;
            plan.ends[best + 1]++;
        }
        for (int64_t k = 0; k < K; k++) plan.shares[t * K + k] /= sum;
    }
    for (int64_t e = 0; e < E; e++) plan.ends[e + 1] += plan.ends[e];
    for (int64_t copy = 0; copy < tokens * K; copy++) {
        const int32_t place = plan.ends[plan.places[copy]]++;  // each becomes where the next expert's begin
        plan.places[copy] = place;
        memcpy(op.out + place * op.width, op.in2 + copy / K * op.width, op.width * sizeof(float));
    }
    for (int64_t e = E; e > 0; e--) plan.ends[e] = plan.ends[e - 1];
    plan.ends[0] = 0;
}

// Rows of every expert's weights by the copies that it reads.
static void linear_of_experts(const Op &op, int64_t first, int64_t last, int64_t tokens) {
    const int64_t bits[] = {32, 16, 8, 4};
    const int64_t height = op.type < INT8 ? op.width : (op.width + LANES - 1) / LANES * LANES, weights = height * op.inner;
    const Plan plan(op, tokens);
    for (int64_t e = 0; e < op.groups; e++) {
        const int64_t begin = plan.ends[e], rows = plan.ends[e + 1] - begin;
        if (!rows) continue;
        Op one = op;
        one.weight = (const char *)op.weight + e * weights * bits[op.type] / 8;
        one.scale = (const uint16_t *)op.scale + e * weights / GROUP;
        one.in = op.in + begin * op.inner;
        one.out = op.out + begin * op.width;
        linear(one, first, last, rows);
    }
}

// Channels of a recurrent layer's state after one more token: from the products of its input and of its old state, whose
// gates lie side by side in torch's order. An LSTM has a second state, which lies behind the first of all rows.
static void cell(const Op &op, int64_t row, int64_t rows, int64_t first, int64_t last) {
    const int64_t H = op.width, gates = op.choice == GRU ? 3 : op.choice == LSTM ? 4 : 1;
    const float *x = op.in + row * gates * H, *h = op.in2 + row * gates * H;
    float *state = op.in3 + row * H, *second = op.in3 + (rows + row) * H, *out = op.out + row * H;
    for (int64_t i = first; i < last; i++) {
        if (op.choice == GRU) {
            const float reset = activated(x[i] + h[i], SIGMOID), keep = activated(x[H + i] + h[H + i], SIGMOID);
            const float fresh = tanhf(x[2 * H + i] + reset * h[2 * H + i]);
            state[i] = fresh + keep * (state[i] - fresh);
        } else if (op.choice == LSTM) {
            const float in = activated(x[i] + h[i], SIGMOID), keep = activated(x[H + i] + h[H + i], SIGMOID);
            const float shown = activated(x[3 * H + i] + h[3 * H + i], SIGMOID);
            second[i] = keep * second[i] + in * tanhf(x[2 * H + i] + h[2 * H + i]);
            state[i] = shown * tanhf(second[i]);
        } else {
            state[i] = tanhf(x[i] + h[i]);
        }
        out[i] = state[i];
    }
}

static void share(int64_t items, int64_t step, int thread, int threads, int64_t &first, int64_t &last) {
    int64_t steps = (items + step - 1) / step, each = (steps + threads - 1) / threads;
    first = thread * each * step;
    last = first + each * step;
    if (first > items) first = items;
    if (last > items) last = items;
}

static void perform(const Op &op, const State &state, int thread, int threads) {
    const int64_t tokens = state.batch * state.length, rows = tokens * (op.copies ? op.copies : 1);
    int64_t first, last;
    switch (op.kind) {
        case EMBED:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++) embed(op, state.tokens[row], op.out + row * op.width);
            break;
        case PLACE:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++) {
                int64_t position = state.past + row % state.length - (state.starts ? state.starts[row / state.length] : 0);
                const float *added = (const float *)op.weight + position * op.width;
                for (int64_t i = 0; i < op.width; i++) op.out[row * op.width + i] += added[i];
            }
            break;
        case RMS:
        case LAYER:
            share(rows, 1, thread, threads, first, last);
            for (int64_t row = first; row < last; row++)
                norm(op.in + row * op.width, op.out + row * op.width, op.width, (const float *)op.weight,
                     (const float *)op.bias, op.eps, op.kind == LAYER);
            break;
        case LINEAR:
            share(op.width, LANES, thread, threads, first, last);
            if (op.copies) linear_of_experts(op, first, last, tokens);
            else linear(op, first, last, rows);
            break;
        case CHOOSE:  // little work, and each part of it waits for the one before
            if (thread == 0) choose(op, tokens);
            break;
        case MIX:
            share(tokens, 1, thread, threads, first, last);
            for (int64_t token = first; token < last; token++) {
                const Plan plan(op, tokens);
                float *out = op.out + token * op.width;
                if (!op.flag) memset(out, 0, op.width * sizeof(float));
                for (int64_t copy = token * op.copies; copy < (token + 1) * op.copies; copy++)
                    mix(out, op.in + plan.places[copy] * op.width, plan.shares[copy], op.width);
            }
            break;
        case ATTEND:
            for (int64_t item = thread; item < state.batch * op.groups; item += threads) {
                float *scores = state.scores + thread * state.n_scores;
                if (state.layers[op.layer].type == FLOAT32) attend<float>(op, state, item / op.groups, item % op.groups, scores);
                else attend<uint16_t>(op, state, item / op.groups, item % op.groups, scores);
            }
            break;
        case CROSS:
            for (int64_t item = thread; item < rows * op.heads; item += threads) {
                float *scores = state.scores + thread * state.n_scores;
                if (state.memories[op.layer].type == FLOAT32) cross<float>(op, state, item / op.heads, item % op.heads, scores);
                else cross<uint16_t>(op, state, item / op.heads, item % op.heads, scores);
            }
            break;
        case ACTIVATE:  // the same shares as the linear layer before it, so nobody waits
        case GATE:
            share(op.width, LANES, thread, threads, first, last);
            for (int64_t row = 0; row < rows; row++)
                for (int64_t i = row * op.width + first; i < row * op.width + last; i++)
                    op.out[i] = activated(op.in[i], op.choice) * (op.kind == GATE ? op.in2[i] : 1.0f);
            break;
        case CELL:
            share(op.width, LANES, thread, threads, first, last);
            for (int64_t row = 0; row < rows; row++) cell(op, row, rows, first, last);
            break;
        case ADD:
            share(rows * op.width, VL, thread, threads, first, last);
            for (int64_t i = first; i < last; i++)
                op.out[i] += op.in[i] * (op.weight ? ((const float *)op.weight)[i % op.width] : 1.0f);
            break;
        case CAP:
            share(rows * op.width, VL, thread, threads, first, last);
            for (int64_t i = first; i < last; i++) op.out[i] = op.cap > 0 ? op.cap * tanhf(op.in[i] / op.cap) : op.in[i] * op.factor;
            break;
    }
}

extern "C" {

int64_t sizes(int which) {
    const int64_t found[] = {sizeof(Op), sizeof(Layer), sizeof(Memory), sizeof(State)};
    return found[which];
}

void run(const Op *ops, int64_t count, const State *state, int threads) {
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num(), all = omp_get_num_threads();
        for (int64_t i = 0; i < count; i++) {
            perform(ops[i], *state, thread, all);
            if (ops[i].wait) {
#pragma omp barrier
            }
        }
    }
}

// (rows, inner) by weights (width, inner) to (rows, width).
void multiply(const float *in, const void *weight, const void *scale, const float *bias, float *out, int64_t rows,
              int64_t width, int64_t inner, int type, int threads) {
    Op op = {};
    op.type = type, op.width = (int32_t)width, op.inner = (int32_t)inner;
    op.weight = weight, op.scale = scale, op.bias = bias, op.in = (float *)in, op.out = out;
#pragma omp parallel num_threads(threads)
    {
        int64_t first, last;
        share(width, LANES, omp_get_thread_num(), omp_get_num_threads(), first, last);
        linear(op, first, last, rows);
    }
}
}
