// Attention of a few queries of a sequence over a paged cache.
//
// A sequence's keys are cut into spans of 256 at fixed places. A span's part of the result is computed by itself and the
// parts are joined in order, so that long sequences occupy all threads, and a result has the same bits however many.
//
// The cache holds, for each slot, the keys of all groups and then the values: (slots, 2, G, d). Key s of a sequence lies
// in slot table[s / block_size] * block_size + s % block_size.
//
// Shapes: H query heads, G groups, R = H / G heads of a group, d head size.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vector.h"

namespace freehold {

constexpr int64_t kSpan = 256;               // keys of a span
constexpr int kTogether = 8;                 // most rows of a sequence that attend together
constexpr int kMaxShared = 64;               // most heads of a group
constexpr int kMaxHeads = kTogether * kMaxShared;

inline int64_t spans(int64_t length) { return (length + kSpan - 1) / kSpan; }

template <class Store>
struct Cache {
    Store *layer;  // of one layer
    int64_t slot_stride, groups, head_size, block_size;

    Store *key(int64_t slot, int64_t group) const { return layer + slot * slot_stride + group * head_size; }
    Store *value(int64_t slot, int64_t group) const { return key(slot, groups + group); }
};

// One head of one row: where its query, its scores and its result lie.
struct Head {
    const float *query;
    float *scores;
    float *out;
    int keys;  // how many of a run's keys the row sees
};

// Scores of Heads heads against `count` <= 16 keys side by side in the cache. Each key is read once for all heads.
template <int Heads, int Parts, class Store>
inline void score(const Head *head, const Store *key, int64_t stride, int count) {
    Vec query[Heads][Parts], dot[Heads][kWidth];
    for (int h = 0; h < Heads; h++)
        for (int i = 0; i < Parts; i++) query[h][i] = load(head[h].query + i * kWidth);
    for (int j = 0; j < count; j++) {
        Vec total[Heads] = {};
        for (int i = 0; i < Parts; i++) {
            const Vec k = load(key + j * stride + i * kWidth);
            for (int h = 0; h < Heads; h++) total[h] += query[h][i] * k;
        }
        for (int h = 0; h < Heads; h++) dot[h][j] = total[h];
    }
    for (int h = 0; h < Heads; h++) {
        for (int j = count; j < kWidth; j++) dot[h][j] = Vec{};
        const Vec all = sums(dot[h]);
        if (head[h].keys >= kWidth) {
            store(head[h].scores, all);
        } else {
            float some[kWidth];
            store(some, all);
            for (int j = 0; j < head[h].keys; j++) head[h].scores[j] = some[j];
        }
    }
}

template <int Parts, class Store>
inline void score_heads(const Head *head, int heads, const Store *key, int64_t stride, int count) {
    constexpr int kFew = Parts > 8 ? 1 : Parts > 4 ? 2 : 4;  // heads whose queries stay in registers
    int h = 0;
    for (; h + kFew <= heads; h += kFew) score<kFew, Parts>(head + h, key, stride, count);
    for (; h < heads; h++) score<1, Parts>(head + h, key, stride, count);
}

// For heads of any size up to 256.
template <class Store>
inline void score_any(const Head *head, int heads, const Store *key, int64_t stride, int64_t size, int count) {
    switch (size / kWidth) {
#define FREEHOLD_PARTS(n) \
    case n: return score_heads<n>(head, heads, key, stride, count);
        FREEHOLD_PARTS(1) FREEHOLD_PARTS(2) FREEHOLD_PARTS(3) FREEHOLD_PARTS(4)
        FREEHOLD_PARTS(5) FREEHOLD_PARTS(6) FREEHOLD_PARTS(7) FREEHOLD_PARTS(8)
        FREEHOLD_PARTS(9) FREEHOLD_PARTS(10) FREEHOLD_PARTS(11) FREEHOLD_PARTS(12)
        FREEHOLD_PARTS(13) FREEHOLD_PARTS(14) FREEHOLD_PARTS(15) FREEHOLD_PARTS(16)
#undef FREEHOLD_PARTS
    }
}

// Adds scores[j] * value j, j < count, to Parts * 16 numbers of each head's result, from `at` on.
template <int Heads, int Parts, class Store>
inline void gather(const Head *head, const Store *value, int64_t stride, int count, int64_t at) {
    Vec total[Heads][Parts];
    for (int h = 0; h < Heads; h++)
        for (int i = 0; i < Parts; i++) total[h][i] = load(head[h].out + at + i * kWidth);
    for (int j = 0; j < count; j++)
        for (int i = 0; i < Parts; i++) {
            const Vec v = load(value + j * stride + at + i * kWidth);
            for (int h = 0; h < Heads; h++) total[h][i] += v * head[h].scores[j];
        }
    for (int h = 0; h < Heads; h++)
        for (int i = 0; i < Parts; i++) store(head[h].out + at + i * kWidth, total[h][i]);
}

template <int Parts, class Store>
inline void gather_heads(const Head *head, int heads, const Store *value, int64_t stride, int64_t at) {
    int h = 0;
    while (h < heads) {
        int alike = 1;  // heads that see as many keys
        while (alike < 4 && h + alike < heads && head[h + alike].keys == head[h].keys) alike++;
        if (alike == 4)
            gather<4, Parts>(head + h, value, stride, head[h].keys, at);
        else if (alike == 3)
            gather<3, Parts>(head + h, value, stride, head[h].keys, at);
        else if (alike == 2)
            gather<2, Parts>(head + h, value, stride, head[h].keys, at);
        else
            gather<1, Parts>(head + h, value, stride, head[h].keys, at);
        h += alike;
    }
}

// Queries of one sequence against one span of its keys. The first of `rows` queries sees `seen` keys of the sequence,
// each further one more. Heads of groups [first_group, last_group); those of a group lie side by side.
template <class Store>
struct Span {
    const Cache<Store> &cache;
    const int32_t *table;  // blocks of the sequence
    int64_t first;         // key of the span
    int64_t seen;
    int rows;
    int64_t first_group, last_group, shared;
    const float *query;  // (rows, H, d), scaled, `query_stride` numbers a row
    int64_t query_stride;
    float *scores;  // room for (rows, H, kSpan)

    int64_t heads() const { return cache.groups * shared; }
    int64_t end(int row) const { return std::min(first + kSpan, seen + row); }
    float *row_scores(int row, int64_t head) const { return scores + (row * heads() + head) * kSpan; }

    // Calls `work(slot, key, count)` for pieces of at most 16 keys within a block.
    template <class Work>
    void runs(const Work &work) const {
        for (int64_t s = first; s < end(rows - 1);) {
            const int64_t offset = s % cache.block_size;
            const int count = (int)std::min({(int64_t)kWidth, cache.block_size - offset, end(rows - 1) - s});
            work(table[s / cache.block_size] * cache.block_size + offset, s, count);
            s += count;
        }
    }

    void score_all() const {
        const int64_t size = cache.head_size, stride = cache.slot_stride;
        const int64_t bytes = (last_group - first_group) * size * (int64_t)sizeof(Store);
        Head head[kMaxHeads];
        runs([&](int64_t slot, int64_t s, int count) {
            // the next keys, which mostly lie behind these, and the values, which are needed later
            for (int j = 0; j < count; j++)
                for (int64_t byte = 0; byte < bytes; byte += 64) {
                    __builtin_prefetch((const char *)cache.key(slot + kWidth + j, first_group) + byte, 0, 3);
                    __builtin_prefetch((const char *)cache.value(slot + j, first_group) + byte, 0, 2);
                }
            for (int64_t g = first_group; g < last_group; g++) {
                const int many = list_heads(head, g, s, count, [](int) { return (float *)nullptr; });
                score_any(head, many, cache.key(slot, g), stride, size, count);
            }
        });
    }

    // Turns a head's scores into weights e^(score - largest); gives the largest and the sum of the weights.
    void weigh(int row, int64_t head, float *top, float *mass) const {
        float *at = row_scores(row, head);
        const int64_t keys = end(row) - first, whole = (keys + kWidth - 1) / kWidth * kWidth;
        for (int64_t j = keys; j < whole; j++) at[j] = -__builtin_inff();
        Vec high = splat(-__builtin_inff());
        for (int64_t j = 0; j < whole; j += kWidth) high = larger(high, load(at + j));
        *top = largest(high);
        Vec total = {};
        for (int64_t j = 0; j < whole; j += kWidth) {
            const Vec weight = exp(load(at + j) - *top);
            store(at + j, weight);
            total += weight;
        }
        *mass = sum(total);
    }

    // Adds up the weighted values. `out(row)` is where (H, d) of a row go.
    template <class Out>
    void gather_all(const Out &out) const {
        const int64_t size = cache.head_size, stride = cache.slot_stride;
        for (int r = 0; r < rows; r++)
            if (end(r) > first)
                std::fill(out(r) + first_group * shared * size, out(r) + last_group * shared * size, 0.0f);
        Head head[kMaxHeads];
        runs([&](int64_t slot, int64_t s, int count) {
            for (int64_t g = first_group; g < last_group; g++) {
                const int many = list_heads(head, g, s, count, out);
                const Store *value = cache.value(slot, g);
                int64_t i = 0;
                for (; i + 64 <= size; i += 64) gather_heads<4>(head, many, value, stride, i);
                for (; i < size; i += kWidth) gather_heads<1>(head, many, value, stride, i);
            }
        });
    }

    // The heads of group `g` of all rows that see some of the `count` keys from `s` on.
    template <class Out>
    int list_heads(Head *head, int64_t g, int64_t s, int count, const Out &out) const {
        const int64_t size = cache.head_size;
        int many = 0;
        for (int r = 0; r < rows; r++) {
            const int sees = (int)std::min<int64_t>(count, end(r) - s);
            if (sees <= 0) continue;
            float *to = out(r);
            for (int64_t h = g * shared; h < (g + 1) * shared; h++)
                head[many++] = {query + r * query_stride + h * size, row_scores(r, h) + s - first,
                                to ? to + h * size : nullptr, sees};
        }
        return many;
    }
};

// Joins the spans' parts of one head in order. part: (spans, d) `stride` numbers apart, and so on; out: (d,).
template <class Out>
inline void join_spans(const float *part, const float *top, const float *mass, int64_t count, int64_t stride,
                       int64_t step, int64_t size, Out *out) {
    float high = top[0];
    for (int64_t c = 1; c < count; c++) high = std::max(high, top[c * step]);
    float total = 0.0f;
    for (int64_t c = 0; c < count; c++) total += mass[c * step] * exp(splat(top[c * step] - high))[0];
    for (int64_t i = 0; i < size; i += kWidth) {
        Vec sum = {};
        for (int64_t c = 0; c < count; c++)
            sum += load(part + c * stride + i) * exp(splat(top[c * step] - high))[0];
        store(out + i, sum / total);
    }
}

}  // namespace freehold
