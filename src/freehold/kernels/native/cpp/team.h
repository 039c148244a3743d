// A team of threads for one call, out of the pool that torch already has.
//
// A second pool would fight with torch's for the processors, so that there is none here: the functions of torch's own
// OpenMP library are handed in.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace freehold {

struct OpenMP {
    void (*parallel)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
    int (*thread)();
    int (*threads)();
};

class Team {
  public:
    int size() const { return size_; }
    int member() const { return member_; }

    // Waits for all members. What they wrote before it can be read after it.
    void meet() const {
        if (size_ == 1) return;
        const int round = state_->round.load(std::memory_order_relaxed);
        if (state_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
            state_->arrived.store(0, std::memory_order_relaxed);
            state_->round.store(round + 1, std::memory_order_seq_cst);
            if (state_->asleep.load(std::memory_order_seq_cst)) futex(FUTEX_WAKE_PRIVATE, INT_MAX);
            return;
        }
        for (int turn = 0; state_->round.load(std::memory_order_acquire) == round; turn++) {
            if (turn < kPatience) {
                __builtin_ia32_pause();
                continue;
            }
            state_->asleep.fetch_add(1, std::memory_order_seq_cst);
            futex(FUTEX_WAIT_PRIVATE, round);  // returns at once where the round is over already
            state_->asleep.fetch_sub(1, std::memory_order_relaxed);
        }
    }

    // This member's share of `count` pieces: [first, last).
    int64_t first(int64_t count) const { return count * member_ / size_; }
    int64_t last(int64_t count) const { return count * (member_ + 1) / size_; }

    template <class Work>
    static void run(const OpenMP &openmp, int threads, const Work &work) {
        State state;
        struct Call {
            const Work &work;
            const OpenMP &openmp;
            State &state;
        } call{work, openmp, state};
        if (threads <= 1 || openmp.parallel == nullptr) {
            work(Team(0, 1, &state));
            return;
        }
        openmp.parallel(
            [](void *data) {
                Call &c = *(Call *)data;
                c.work(Team(c.openmp.thread(), c.openmp.threads(), &c.state));
            },
            &call, (unsigned)threads, 0);
    }

  private:
    static constexpr int kPatience = 10000;  // pauses before a waiting thread sleeps: some 100 microseconds
    struct State {
        alignas(64) std::atomic<int> arrived{0};
        alignas(64) std::atomic<int> round{0};
        std::atomic<int> asleep{0};
    };
    long futex(int operation, int value) const {
        return syscall(SYS_futex, (int *)&state_->round, operation, value, nullptr, nullptr, 0);
    }
    Team(int member, int size, State *state) : member_(member), size_(size), state_(state) {}
    int member_, size_;
    State *state_;
};

}  // namespace freehold
