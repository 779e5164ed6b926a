"""From segments of text to token IDs and a mask of the tokens that the loss counts.

Neighbouring segments with the same mask are encoded as one text, as a server encodes a prompt. The text is cut where the
mask changes, because there a server stops reading the prompt and the model goes on by itself. Row text (literal segments)
is cut out of its surroundings only where it holds, or completes, a look-alike of a control token.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from temper_trainer.failures import TrainerFailure

# Another one whenever this module gives other tokens.
ENCODING = 1


@dataclass
class Piece:
    """Text that is encoded by one call. `literal`: control tokens in it are plain text. `continues`: it does not begin the example."""

    text: str
    trained: bool
    literal: bool
    continues: bool


class Encoder:
    """Encodes the examples of one kind of task with one tokenizer (a fast one of transformers)."""

    def __init__(self, tokenizer, kind: str):
        self.backend = tokenizer.backend_tokenizer
        self.kind = kind
        self.bos = tokenizer.bos_token_id
        self.eos = tokenizer.eos_token_id
        if self.eos is None and kind != 'conversation':
            raise TrainerFailure('MODEL_FILES_MISSING', 'The tokenizer names no EOS token (eos_token in tokenizer_config.json).')
        self.adds_bos = self.bos is not None and tokenizer('a').input_ids[:1] == [self.bos]
        controls = sorted((token.content for token in tokenizer.added_tokens_decoder.values() if token.special), key=len, reverse=True)
        self.control = re.compile('|'.join(map(re.escape, controls))) if controls else None
        # Tokenizers in SentencePiece's manner put a space before every text. Behind a newline, cut off again, they do not.
        self.newline = self.encode_texts(['\n'], literal=True)[0]
        alone, behind = self.encode_texts(['a', '\na'], literal=True)
        self.prepends_space = behind != self.newline + alone

    def encode(self, examples: Sequence[Sequence[Sequence]]) -> list[tuple[list[int], list[bool]]]:
        """Token IDs and mask of each example (a list of segments `[text, trained, literal?]`), with the BOS and EOS that belong there."""
        pieces = [self.cut(segments) for segments in examples]
        flat = [piece for of_example in pieces for piece in of_example]
        ids_of: dict[int, list[int]] = {}
        for literal in (False, True):
            chosen = [piece for piece in flat if piece.literal == literal]
            for piece, ids in zip(chosen, self.encode_pieces(chosen, literal), strict=True):
                ids_of[id(piece)] = ids
        return [self.join([(ids_of[id(piece)], piece.trained) for piece in of_example]) for of_example in pieces]

    def digest(self) -> str:
        """SHA-256 of all that decides the tokens of a text."""
        facts = [ENCODING, self.backend.to_str(), self.kind, self.bos, self.eos, self.adds_bos]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def encode_answer(self, text: str, literal: bool) -> list[int]:
        """Tokens of an answer as training sees them: behind the prompt, with EOS."""
        return self.encode_pieces([Piece(text, True, literal, True)], literal)[0] + [self.eos]

    def join(self, parts: list[tuple[list[int], bool]]) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        trained: list[bool] = []
        for part, part_trained in parts:
            ids += part
            trained += [part_trained] * len(part)
        if self.kind != 'conversation':
            ids, trained = [*ids, self.eos], [*trained, True]
        # Where a server's tokenizer puts BOS, and nowhere else: many name one that they never use, or use as EOS.
        if self.adds_bos and not (self.kind == 'conversation' and ids[:1] == [self.bos]):
            ids, trained = [self.bos, *ids], [False, *trained]
        return ids, trained

    def cut(self, segments: Sequence[Sequence]) -> list[Piece]:
        pieces: list[Piece] = []
        for text, trained, *rest in segments:
            if text == '':
                continue
            literal = bool(rest and rest[0])
            if pieces and pieces[-1][0] == trained:
                pieces[-1][1].append((text, literal))
            else:
                pieces.append((trained, [(text, literal)]))
        cut: list[Piece] = []
        for trained, spans in pieces:
            for text, literal in self.cut_run(spans):
                cut.append(Piece(text, trained, literal, continues=bool(cut)))
        return cut

    def cut_run(self, spans: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
        """One text when no control token would be read out of literal text, else span by span."""
        whole = ''.join(text for text, _ in spans)
        if len(spans) == 1 or all(literal for _, literal in spans):
            return [(whole, spans[0][1])]
        if self.control is None or not any(literal for _, literal in spans):
            return [(whole, False)]
        literal_ranges = []
        start = 0
        for text, literal in spans:
            if literal:
                literal_ranges.append((start, start + len(text)))
            start += len(text)
        for match in self.control.finditer(whole):
            if any(match.start() < end and start < match.end() for start, end in literal_ranges):
                return spans
        return [(whole, False)]

    def encode_pieces(self, pieces: list[Piece], literal: bool) -> list[list[int]]:
        if not self.prepends_space:
            return self.encode_texts([piece.text for piece in pieces], literal)
        behind = self.encode_texts([('\n' if piece.continues else '') + piece.text for piece in pieces], literal)
        encoded = []
        for piece, ids in zip(pieces, behind, strict=True):
            if not piece.continues:
                encoded.append(ids)
            elif ids[: len(self.newline)] == self.newline:
                encoded.append(ids[len(self.newline) :])
            else:  # the newline melted into the text
                encoded.append(self.encode_texts([piece.text], literal)[0])
        return encoded

    def encode_texts(self, texts: list[str], literal: bool) -> list[list[int]]:
        self.backend.encode_special_tokens = literal
        encoded = [encoding.ids for encoding in self.backend.encode_batch(texts, add_special_tokens=False)]
        self.backend.encode_special_tokens = False
        return encoded
