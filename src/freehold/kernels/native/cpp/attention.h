// Attention of single queries over a paged cache.
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

constexpr int64_t kSpan = 256;  // keys of a span

inline int64_t spans(int64_t length) { return (length + kSpan - 1) / kSpan; }

template <class Store>
struct Cache {
    Store *layer;  // of one layer
    int64_t slot_stride, groups, head_size, block_size;

    Store *key(int64_t slot, int64_t group) const { return layer + slot * slot_stride + group * head_size; }
    Store *value(int64_t slot, int64_t group) const { return key(slot, groups + group); }
};

// Scores of one query head against `count` keys side by side in the cache; 16 are computed, count <= 16 are kept.
template <int Parts, class Store>
inline void score(const float *query, const Store *key, int64_t stride, int64_t size, int count, float *out) {
    Vec dot[kWidth];
    if (count == kWidth) {
        for (int j = 0; j < kWidth; j++) {
            Vec total = {};
            if (Parts > 0)
                for (int i = 0; i < Parts; i++) total += load(query + i * kWidth) * load(key + j * stride + i * kWidth);
            else
                for (int64_t i = 0; i < size; i += kWidth) total += load(query + i) * load(key + j * stride + i);
            dot[j] = total;
        }
        store(out, sums(dot));
        return;
    }
    for (int j = 0; j < kWidth; j++) {
        Vec total = {};
        if (j < count)
            for (int64_t i = 0; i < size; i += kWidth) total += load(query + i) * load(key + j * stride + i);
        dot[j] = total;
    }
    float padded[kWidth];
    store(padded, sums(dot));
    std::copy(padded, padded + count, out);
}

// Adds weight[h][j] * value j to out[h] for Heads heads and Parts * 16 numbers of a head.
template <int Heads, int Parts, class Store>
inline void gather(const float *weight, int64_t weight_stride, const Store *value, int64_t stride, int count, float *out,
                   int64_t out_stride) {
    Vec total[Heads][Parts];
    for (int h = 0; h < Heads; h++)
        for (int i = 0; i < Parts; i++) total[h][i] = load(out + h * out_stride + i * kWidth);
    for (int j = 0; j < count; j++)
        for (int i = 0; i < Parts; i++) {
            const Vec v = load(value + j * stride + i * kWidth);
            for (int h = 0; h < Heads; h++) total[h][i] += v * weight[h * weight_stride + j];
        }
    for (int h = 0; h < Heads; h++)
        for (int i = 0; i < Parts; i++) store(out + h * out_stride + i * kWidth, total[h][i]);
}

template <int Parts, class Store>
inline void gather_heads(const float *weight, int64_t weight_stride, int heads, const Store *value, int64_t stride,
                         int count, float *out, int64_t out_stride) {
    int h = 0;
    for (; h + 4 <= heads; h += 4)
        gather<4, Parts>(weight + h * weight_stride, weight_stride, value, stride, count, out + h * out_stride, out_stride);
    weight += h * weight_stride, out += h * out_stride;
    if (heads - h == 3) gather<3, Parts>(weight, weight_stride, value, stride, count, out, out_stride);
    if (heads - h == 2) gather<2, Parts>(weight, weight_stride, value, stride, count, out, out_stride);
    if (heads - h == 1) gather<1, Parts>(weight, weight_stride, value, stride, count, out, out_stride);
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
        runs([&](int64_t slot, int64_t s, int count) {
            // the next keys, which mostly lie behind these, and the values, which are needed later
            for (int j = 0; j < count; j++)
                for (int64_t byte = 0; byte < bytes; byte += 64) {
                    __builtin_prefetch((const char *)cache.key(slot + kWidth + j, first_group) + byte, 0, 3);
                    __builtin_prefetch((const char *)cache.value(slot + j, first_group) + byte, 0, 2);
                }
            for (int64_t g = first_group; g < last_group; g++) {
                const Store *key = cache.key(slot, g);
                for (int r = 0; r < rows; r++) {
                    const int sees = (int)std::min<int64_t>(count, end(r) - s);
                    if (sees <= 0) continue;
                    for (int64_t h = g * shared; h < (g + 1) * shared; h++) {
                        const float *q = query + r * query_stride + h * size;
                        float *out = row_scores(r, h) + s - first;
                        if (size == 64)
                            score<4>(q, key, stride, size, sees, out);
                        else if (size == 128)
                            score<8>(q, key, stride, size, sees, out);
                        else
                            score<0>(q, key, stride, size, sees, out);
                    }
                }
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
        runs([&](int64_t slot, int64_t s, int count) {
            for (int64_t g = first_group; g < last_group; g++) {
                const Store *value = cache.value(slot, g);
                for (int r = 0; r < rows; r++) {
                    const int sees = (int)std::min<int64_t>(count, end(r) - s);
                    if (sees <= 0) continue;
                    const float *weight = row_scores(r, g * shared) + s - first;
                    float *to = out(r) + g * shared * size;
                    int64_t i = 0;
                    for (; i + 64 <= size; i += 64)
                        gather_heads<4>(weight, kSpan, (int)shared, value + i, stride, sees, to + i, size);
                    for (; i < size; i += kWidth)
                        gather_heads<1>(weight, kSpan, (int)shared, value + i, stride, sees, to + i, size);
                }
            }
        });
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
