"""The corpus is as large as it says, and every case is another one."""

import corpus_arrays
import corpus_calls
import corpus_images
import corpus_manifests
import corpus_sources

PARTS = (corpus_arrays, corpus_calls, corpus_images, corpus_manifests, corpus_sources)


def test_the_corpus_holds_400_different_inputs():
    names = [f"{part.__name__}/{case.name}" for part in PARTS for case in part.cases()]
    assert len(set(names)) == len(names)
    assert len(names) >= 400
